"""Takes screenshots of every page for the documentation: `./run screenshots`."""

import sys
import tempfile
from pathlib import Path

from browsing import PageErrors, Site, context_of, environment
from chromium import FLAGS, path_of_chromium
from playwright.sync_api import expect, sync_playwright

from evalqueue.postgres.embedded.server import Embedded

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
SIZE = {"width": 1280, "height": 860}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="evalqueue-screens-") as folder:
        home = Path(folder)
        home.chmod(0o711)  # as root, Postgres runs as another account
        server = Embedded(home / "postgres")
        site = Site(server.url, home, environment(home, server.url))
        try:
            site.run("migrate")
            site.start_all()
            take_screenshots(site)
        finally:
            site.stop()
            server.stop()


def take_screenshots(site: Site) -> None:
    addresses = site.page_urls()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path_of_chromium(), args=FLAGS, chromium_sandbox=False
        )
        for scheme in ("light", "dark"):
            with context_of(
                browser, PageErrors(), viewport=SIZE, color_scheme=scheme, reduced_motion="reduce"
            ) as context:
                tab = context.new_page()
                for name, address in addresses.items():
                    if name == "jobs":
                        site.submit(total_items=48, concurrency=2, name="Regression, all")
                    tab.goto(address)
                    expect(tab.locator("main h1")).to_be_visible()
                    tab.wait_for_timeout(1_500)  # until the page has loaded its data
                    tab.screenshot(path=FOLDER / f"{name}-{scheme}.png")
                    sys.stdout.write(f"{name}, {scheme}\n")
        browser.close()


if __name__ == "__main__":
    main()
