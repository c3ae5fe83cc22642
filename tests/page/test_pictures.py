"""How the pages look, in Chromium, compared with the pictures in tests/page/pictures.

The font is of node_modules. Text, lines and areas may not differ; see screens.comparison.
"""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from browsing import PageErrors, Site
from playwright.sync_api import Route
from screens import comparison, references
from screens.camera import OtherFont, camera, picture, pictures, show, tab_of
from screens.states import pictures_of_states
from screens.studio import Studio, studio

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="another font is drawn: pictures are compared on Linux"
)


@pytest.fixture(scope="module")
def ready(full_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Generator[Studio]:
    """Fails with the cause if this machine draws another font than the pictures have."""
    with studio(full_site, tmp_path_factory.mktemp("studio")) as ready:
        yield ready


def test_another_font_is_named_as_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screens.camera.FONTS", tmp_path / "none")
    with pytest.raises(OtherFont, match=r"does not draw the font .*\(missing: run npm ci\)"):
        with camera(tmp_path):
            pass


@pytest.mark.parametrize("page", references.PAGES)
def test_a_page_looks_like_its_pictures(ready: Studio, page: str) -> None:
    references.check(pictures(ready.tab, page, ready.urls[page]))


def test_pages_without_data_look_like_their_pictures(ready: Studio) -> None:
    references.check(ready.without_data)


def test_pages_that_load_or_miss_data_look_like_their_pictures(ready: Studio) -> None:
    references.check(pictures_of_states(ready.tab, ready.urls))


@pytest.mark.parametrize(
    ("page", "css"),
    [
        ("jobs", ":root { --accent: light-dark(#3a50ca, #b5a1ff); }"),
        ("run", ":root { --surface: light-dark(#f6f6ff, #1f1f2d); }"),
        ("run", ".card { padding: 1.125rem; }"),  # by two pixels
        ("run", ".stack { gap: 1.125rem; }"),
        ("run", "main svg { visibility: hidden; }"),
    ],
)
def test_another_colour_margin_or_chart_is_seen(
    ready: Studio, tmp_path: Path, page: str, css: str
) -> None:
    def add(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text() + css)

    name = f"{page}-laptop-light"
    with tab_of(ready.browser, PageErrors()) as tab:
        tab.route("**/app.css", add)
        show(tab, ready.urls[page])
        taken = [(name, picture(tab, "laptop", "light"))]
    with pytest.raises(AssertionError, match=f"(?s){name} .*--accept") as failure:
        references.check(taken, tmp_path)
    assert str(tmp_path) in str(failure.value)
    written = {path.name.removeprefix(f"{name}-") for path in tmp_path.iterdir()}
    assert written == {"actual.png", "expected.png", "difference.png"}


def test_other_smoothing_of_edges_is_not_seen() -> None:
    """Single pixels of another shade, as another version of Chromium draws them."""
    expected = comparison.opened((references.FOLDER / "run-laptop-light.webp").read_bytes())
    other = expected.copy()
    for place in range(0, other.width, 10):
        red, green, blue = other.getpixel((place, place))
        other.putpixel((place, place), (red ^ 40, green ^ 40, blue ^ 40))
    assert comparison.difference(expected, other) is None
