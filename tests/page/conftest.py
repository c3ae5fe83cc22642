"""A real browser on the real page: API, worker and simulated judge are processes of their own."""

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from browsing import Site, Watched, context_of, environment
from chromium import FLAGS, path_of_chromium
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

expect.set_options(timeout=30_000)  # the machine may be busy


@pytest.fixture
def site(dsn: str, tmp_path: Path) -> Generator[Site]:
    """Nothing runs yet."""
    site = Site(dsn, tmp_path, environment(tmp_path, dsn))
    yield site
    site.stop()


@pytest.fixture(scope="module")
def furnished(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """A site where everything there is runs."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS furnished WITH (FORCE)")
        connection.execute("CREATE DATABASE furnished TEMPLATE evalqueue_template")
    home = tmp_path_factory.mktemp("furnished")
    parts = psycopg.conninfo.conninfo_to_dict(postgres)
    dsn = f"postgresql://{parts['user']}@/furnished?host={parts['host']}"
    site = Site(dsn, home, environment(home, dsn))
    site.furnish()
    yield site
    site.stop()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE furnished WITH (FORCE)")


@pytest.fixture
def up(site: Site) -> Site:
    """API, worker and judge run."""
    site.judge("--latency-ms=100", "--latency-sigma=0")
    site.worker()
    site.api()
    return site


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Of a module, not of the session: its event loop would be in the way of other tests'."""
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
def watched() -> Watched:
    return Watched()


@pytest.fixture
def context(browser: Browser, watched: Watched) -> Generator[BrowserContext]:
    """A browser of its own for the test, which may complain about nothing."""
    with context_of(browser, watched, viewport={"width": 1280, "height": 900}) as context:
        yield context
    assert watched.unexpected == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()
