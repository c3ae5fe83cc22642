"""Pictures of the page that are the same on every machine: one font, one clock, one time zone."""

import base64
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from browsing import PageErrors, context_of
from chromium import FLAGS, path_of_chromium
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright
from screens.comparison import opened

expect.set_options(timeout=30_000)  # the machine may be busy

NOW = "2026-03-02T12:00:00Z"
SIZES = {"phone": (320, 640), "laptop": (1280, 800), "desktop": (1920, 1080)}
SCHEMES = ("light", "dark")
HIGHEST = 2400  # CSS pixels of a page that a picture shows
QUIET_MS = 200  # without a request: the page has its data
LAST = {"chosen": "LLM calls for", "runs": "From run to run"}  # texts that some views get late
API = "**/api/**"
EVENTS = re.compile(r"/events(\?|$)")

FONTS = Path(__file__).parents[3] / "node_modules" / "dejavu-fonts-ttf" / "ttf"
FONTCONFIG = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{fonts}</dir><cachedir>{cache}</cachedir>
  <alias><family>system-ui</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>ui-monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <selectfont><rejectfont><glob>*/DejaVuMath*</glob></rejectfont></selectfont>
  <match target="font">
    <edit name="antialias" mode="assign"><bool>true</bool></edit>
    <edit name="hinting" mode="assign"><bool>false</bool></edit>
    <edit name="hintstyle" mode="assign"><const>hintnone</const></edit>
    <edit name="rgba" mode="assign"><const>none</const></edit>
  </match>
</fontconfig>
"""
LOOKS = [
    "--font-render-hinting=none", "--disable-lcd-text", "--force-color-profile=srgb",
    "--force-device-scale-factor=1", "--hide-scrollbars",
]  # fmt: skip

SAMPLE = "The quick brown fox jumps over 13 lazy dogs"
SANS, MONO = 'system-ui, "DejaVu Sans"', 'ui-monospace, "DejaVu Sans Mono"'
WIDTHS = {f"400 16px {SANS}": 362, f"700 16px {SANS}": 407, f"400 16px {MONO}": 414}  # CSS pixels
MEASURE = """([text, fonts]) => fonts.map((font) => {
    const line = document.body.appendChild(document.createElement("span"));
    line.textContent = text;
    line.style.font = font;
    line.style.position = "absolute";
    return Math.round(line.getBoundingClientRect().width);
})"""

# Ids differ from one evaluation to the next, two cells say how long ago something was, and carets
# blink.
FIX_TEXTS = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("* { caret-color: transparent !important; }");
    document.adoptedStyleSheets = [sheet];
    const rules = [
        ["body", /[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{8,}/g, (id) => id.replace(/\\w/g, "0")],
        ["[data-label='Last report'], [data-label='Oldest waits']", /^-?[0-9].*/, () => "2.0 s"],
    ];
    for (const [selector, pattern, same] of rules)
        for (const element of document.querySelectorAll(selector)) {
            const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const node = walker.currentNode;
                const text = node.data.replace(pattern, same);
                if (text !== node.data) node.data = text;
            }
        }
    const height = () => document.documentElement.scrollHeight;
    return new Promise((done) =>
        requestAnimationFrame(() => requestAnimationFrame(() => done(height()))));
}"""


class OtherFont(Exception):
    """This Chromium does not draw the font of the pictures: the message says what to do."""


@contextmanager
def camera(folder: Path) -> Generator[Browser]:
    """A Chromium that draws the pictures' font, or `OtherFont`; `folder` is for its settings."""
    settings = folder / "fonts.conf"
    settings.write_text(FONTCONFIG.format(fonts=FONTS, cache=folder / "fonts"), "utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path_of_chromium(), args=[*FLAGS, *LOOKS], chromium_sandbox=False,
            timeout=120_000, env={**os.environ, "FONTCONFIG_FILE": str(settings)},
        )  # fmt: skip
        try:
            check_font(browser)
            yield browser
        finally:
            browser.close()


def check_font(browser: Browser) -> None:
    """Raise `OtherFont` unless text is as wide as in the references."""
    tab = browser.new_page()
    found = dict(zip(WIDTHS, tab.evaluate(MEASURE, [SAMPLE, list(WIDTHS)]), strict=True))
    tab.close()
    if found != WIDTHS:
        there = "there" if FONTS.is_dir() else "missing: run npm ci"
        raise OtherFont(
            f"Chromium {browser.version} does not draw the font of the reference pictures, so none"
            f" can be compared: a line is {found} pixels wide, not {WIDTHS}. The font is DejaVu, in"
            f" {FONTS} ({there}), which FONTCONFIG_FILE tells Chromium. One from a snap or flatpak"
            " reads its own fonts: install Debian's (apt-get install chromium), or set"
            " EVALQUEUE_CHROMIUM to another one."
        )


@contextmanager
def tab_of(browser: Browser, errors: PageErrors, **options: object) -> Generator[Page]:
    """A tab whose clock stands still."""
    with context_of(
        browser, errors, reduced_motion="reduce", timezone_id="UTC", locale="en-US", **options
    ) as context:
        context.clock.set_fixed_time(NOW)
        yield context.new_page()


def show(tab: Page, url: str, last: str = "") -> None:
    """Open a page and wait until it has its data, of which `last` comes late. It gets no more."""
    tab.unroute(API, hold)
    with requests_of(tab) as loading:
        tab.goto(url)
        expect(tab.locator("main h1").first).to_be_visible()
        if last:
            expect(tab.locator("main")).to_contain_text(last)
        quiet_ms = 0
        while quiet_ms < QUIET_MS:
            tab.wait_for_timeout(50)
            quiet_ms = 0 if loading() else quiet_ms + 50
    tab.route(API, hold)  # a poll would replace the texts that are fixed


def hold(_route: Route) -> None:
    """Never answer."""


@contextmanager
def requests_of(tab: Page) -> Generator[Callable[[], int]]:
    """How many requests have no answer yet, without the event stream, whose answer does not end."""
    waiting: set[Request] = set()

    def begin(request: Request) -> None:
        if not EVENTS.search(request.url):
            waiting.add(request)

    def end(request: Request) -> None:
        waiting.discard(request)

    tab.on("request", begin)
    tab.on("requestfinished", end)
    tab.on("requestfailed", end)
    yield lambda: len(waiting)
    tab.remove_listener("request", begin)
    tab.remove_listener("requestfinished", end)
    tab.remove_listener("requestfailed", end)


def pictures(tab: Page, name: str, url: str) -> Iterator[tuple[str, Image.Image]]:
    """A page in each size and colour scheme."""
    show(tab, url, LAST.get(name, ""))
    for size in SIZES:
        for scheme in SCHEMES:
            yield f"{name}-{size}-{scheme}", picture(tab, size, scheme)


def picture(tab: Page, size: str, scheme: str) -> Image.Image:
    """What the tab shows, at half its size: a quarter of the pixels, in which text can be read."""
    width, height = SIZES[size]
    if tab.viewport_size != {"width": width, "height": height}:
        tab.set_viewport_size({"width": width, "height": height})
    tab.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    shown = tab.evaluate(FIX_TEXTS)
    clip = {"x": 0, "y": 0, "width": width, "height": min(shown, HIGHEST), "scale": 0.5}
    protocol = tab.context.new_cdp_session(tab)
    answer = protocol.send(
        "Page.captureScreenshot",
        {"clip": clip, "captureBeyondViewport": True, "optimizeForSpeed": True},
    )
    protocol.detach()
    return opened(base64.b64decode(answer["data"]))
