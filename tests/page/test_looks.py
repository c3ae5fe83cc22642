"""The layout and accessibility of every page: light and dark, on small and large screens."""

from collections.abc import Generator
from pathlib import Path

import pytest
from browsing import PageErrors, Site, context_of
from playwright.sync_api import Browser, Page, expect

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SETTLED = 700  # milliseconds until the data is loaded; the event stream prevents "networkidle"
LINKS_OUT_OF_SIGHT = """
[...document.querySelectorAll("nav[aria-label=Main] a")].filter((link) => {
  const [place, around] = [link, link.parentElement].map((each) => each.getBoundingClientRect());
  return place.left < around.left || place.right > Math.min(around.right, innerWidth);
}).map((link) => link.textContent)
"""
SIZES = {"phone": (320, 640), "laptop": (1280, 900), "wall": (3840, 2160)}


@pytest.fixture(scope="module")
def page_urls(full_site: Site) -> dict[str, str]:
    """The URL of every page, with data on it."""
    return full_site.page_urls()


@pytest.fixture(
    params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids="-".join
)
def screen(request: pytest.FixtureRequest, browser: Browser) -> Generator[Page]:
    size, scheme = request.param
    width, height = SIZES[size]
    page_errors = PageErrors()
    with context_of(
        browser, page_errors, viewport={"width": width, "height": height}, color_scheme=scheme,
        reduced_motion="reduce",
    ) as context:  # fmt: skip
        yield context.new_page()
    assert page_errors.unexpected == []


def test_pages_are_for_everybody(page_urls: dict[str, str], screen: Page) -> None:
    source = AXE.read_text("utf-8")
    found: dict[str, list[str]] = {}
    for name, address in page_urls.items():
        screen.goto(address)
        expect(screen.locator("main h1")).to_be_visible()
        screen.wait_for_timeout(SETTLED)
        screen.evaluate(source)
        result = screen.evaluate("axe.run(document, {resultTypes: ['violations']})")
        problems = [
            f"{each['id']}: {each['help']}: {node['target']} {node['failureSummary']}"
            for each in result["violations"]
            for node in each["nodes"]
        ]
        width = screen.evaluate("document.documentElement.scrollWidth - innerWidth")
        if width > 0:
            problems.append(f"wider than the screen by {width} px")
        if links := screen.evaluate(LINKS_OUT_OF_SIGHT):
            problems.append(f"links to other pages that are out of sight: {links}")
        if problems:
            found[name] = problems
    assert found == {}
