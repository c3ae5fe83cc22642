"""Tests of the page in Chromium; API, worker and simulated vendor are processes."""

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from browsing import PageErrors, Site, context_of, environment
from chromium import FLAGS, path_of_chromium
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

expect.set_options(timeout=30_000)  # the machine may be busy


@pytest.fixture
def site(dsn: str, tmp_path: Path) -> Generator[Site]:
    """A site without processes."""
    site = Site(dsn, tmp_path, environment(tmp_path, dsn))
    yield site
    site.stop()


@pytest.fixture(scope="module")
def full_site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """A site with a vendor, a chatbot, a worker and the API running."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS full_site WITH (FORCE)")
        connection.execute("CREATE DATABASE full_site TEMPLATE evalqueue_template")
    home = tmp_path_factory.mktemp("full_site")
    parts = psycopg.conninfo.conninfo_to_dict(postgres)
    dsn = f"postgresql://{parts['user']}@/full_site?host={parts['host']}"
    site = Site(dsn, home, environment(home, dsn))
    site.start_all()
    yield site
    site.stop()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE full_site WITH (FORCE)")


@pytest.fixture
def up(site: Site) -> Site:
    """A site with a vendor, a worker and the API running."""
    site.start_vendor("--latency-ms=100", "--latency-sigma=0")
    site.worker()
    site.api()
    return site


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Module-scoped, because Playwright's event loop would disturb async tests of other modules."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path_of_chromium(),
            args=FLAGS,
            chromium_sandbox=False,
            timeout=120_000,
        )
        yield browser
        browser.close()


@pytest.fixture
def page_errors() -> PageErrors:
    return PageErrors()


@pytest.fixture
def context(browser: Browser, page_errors: PageErrors) -> Generator[BrowserContext]:
    """A browser context of the test's own, which may log no errors."""
    with context_of(browser, page_errors, viewport={"width": 1280, "height": 900}) as context:
        yield context
    assert page_errors.unexpected == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()
