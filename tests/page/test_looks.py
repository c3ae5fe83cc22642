"""Every page, light and dark, on a telephone and on a wall: for everybody, and cut off nowhere."""

from collections.abc import Generator
from pathlib import Path

import pytest
from browsing import Site, Watched, context_of
from playwright.sync_api import Browser, Page, expect

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SETTLED = 700  # milliseconds, until everything has been read: there is always a stream
SIZES = {"phone": (320, 640), "laptop": (1280, 900), "wall": (3840, 2160)}


@pytest.fixture(scope="module")
def places(furnished: Site) -> dict[str, str]:
    """The address of every page, with something on it."""
    return furnished.places()


@pytest.fixture(
    params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids="-".join
)
def screen(request: pytest.FixtureRequest, browser: Browser) -> Generator[Page]:
    size, scheme = request.param
    width, height = SIZES[size]
    watched = Watched()
    with context_of(
        browser, watched, viewport={"width": width, "height": height}, color_scheme=scheme,
        reduced_motion="reduce",
    ) as context:  # fmt: skip
        yield context.new_page()
    assert watched.unexpected == []


def test_pages_are_for_everybody(places: dict[str, str], screen: Page) -> None:
    source = AXE.read_text("utf-8")
    found: dict[str, list[str]] = {}
    for name, address in places.items():
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
        if problems:
            found[name] = problems
    assert found == {}
