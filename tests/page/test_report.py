"""The report of a run, opened from its page: one file that reads well anywhere."""

import re

import pytest
from browsing import Site
from playwright.sync_api import Page, expect


@pytest.fixture(scope="module")
def run(full_site: Site) -> str:
    return full_site.finish("evaluate-batch", total_items=30, name="June")


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_beside_the_run_and_fits(
    full_site: Site, page: Page, run: str, width: int, scheme: str
) -> None:
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    page.goto(f"{full_site.url}/runs/{run}")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report", exact=True).click()
    report = opened.value
    asked: list[str] = []
    report.on("request", lambda request: asked.append(request.url))
    report.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    report.set_viewport_size({"width": width, "height": 800})
    report.reload()

    expect(report.get_by_role("heading", name="June", exact=True)).to_be_visible()
    expect(report.get_by_text("uncalibrated").first).to_be_visible()
    expect(report.get_by_text(re.compile(r"\d+ of \d+ shown"))).to_be_visible()
    assert asked == [f"{full_site.url}/api/eval-runs/{run}/report"]
    assert report.evaluate("document.documentElement.scrollWidth") <= width
    ground = report.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(246, 247, 249)") == (scheme == "light"), "its style is allowed"


def test_a_report_is_printed_as_a_whole(full_site: Site, page: Page, run: str) -> None:
    page.goto(f"{full_site.url}/api/eval-runs/{run}/report")
    page.emulate_media(media="print")

    for details in page.locator("details").all():
        expect(details.locator(".message").first).to_be_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
