"""The browser, and a site whose pages look the same each time."""

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from browsing import PageErrors, Site
from PIL import Image
from playwright.sync_api import Browser, Page
from screens.camera import camera, tab_of
from screens.states import pictures_without_data

FROZEN = Path(__file__).with_name("frozen.sql")


@dataclass(frozen=True, slots=True)
class Studio:
    """What takes pictures: a tab, and the URL of every page."""

    browser: Browser
    tab: Page
    urls: dict[str, str]
    without_data: list[tuple[str, Image.Image]]
    """Pictures from before the site had data."""


@contextmanager
def studio(site: Site, folder: Path) -> Generator[Studio]:
    """A studio with a site that has started and is empty."""
    with camera(folder) as browser, tab_of(browser, PageErrors()) as tab:
        without_data = list(pictures_without_data(tab, site.url))
        yield Studio(browser, tab, freeze(site), without_data)


def freeze(site: Site) -> dict[str, str]:
    """Fill the site, end its workers, and fix what differs each time; the URL of every page."""
    running = site.finish("evaluate-batch", total_items=17, name="Regression")
    site.run("alerts", "add", "no failures", "--watches", "failed")
    runs = site.fill()
    with site.http() as http:
        while not http.get("/api/alerts").json()["alerts"][0]["firing_since"]:
            time.sleep(0.1)
    for worker in site.workers:
        worker.stop(signal.SIGKILL)  # one that is asked to end would be gone from the page
    site.execute(FROZEN.read_text("utf-8"))
    return site.urls_of(**runs) | {"running": f"{site.url}/runs/{running}"}
