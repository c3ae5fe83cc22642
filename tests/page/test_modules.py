"""The vendored modules in a browser with the page's content security policy."""

import json
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from playwright.async_api import expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from evalqueue.evaluators.simulated.loopback import Loopback
from evalqueue.http.headers import PAGE_HEADERS
from evalqueue.http.routes import page

ROOT = Path(__file__).parents[2]
VENDOR = page.FOLDER / "vendor"

EVERY_MODULE = "\n".join(
    f'import "/assets/{path.relative_to(page.FOLDER).as_posix()}";'
    for path in [*VENDOR.rglob("*.js"), *(page.FOLDER / "client").rglob("*.js")]
)

SCRIPT = """
import { html, render } from "/assets/vendor/lit-html/lit-html.js";
import { classMap } from "/assets/vendor/lit-html/directives/class-map.js";
import { repeat } from "/assets/vendor/lit-html/directives/repeat.js";
import { styles } from "/assets/lib/styles.js";
import * as virtual from "/assets/lib/virtual-core.js";

const list = document.getElementById("list");
const draw = (names, style) => render(
  html`<ul>${repeat(names, (name) => name, (name) =>
    html`<li class=${classMap({ chosen: name === "b" })} style=${styles(style)}>${name}</li>`
  )}</ul>`, list);

draw(["a", "b", "<img src=x onerror=alert(1)>"], { width: "40px", "--share": "1" });
const first = list.querySelector("li");
const before = [first.style.width, first.style.getPropertyValue("--share")];
draw(["b", "a"], { width: "50px" });

const frame = document.getElementById("frame");
frame.style.height = "100px";
frame.style.overflow = "auto";
const rows = new virtual.Virtualizer({
  count: 50_000, estimateSize: () => 20, getScrollElement: () => frame, onChange: () => {},
  scrollToFn: virtual.elementScroll, observeElementRect: virtual.observeElementRect,
  observeElementOffset: virtual.observeElementOffset,
});
rows._didMount();
rows._willUpdate();
const evil = document.createElement("div");
let refused = false;
try { evil.innerHTML = "<b>x</b>"; } catch { refused = true; }
document.title = JSON.stringify({
  before, after: [first.style.width, first.style.getPropertyValue("--share")],
  texts: [...list.querySelectorAll("li")].map((each) => each.textContent),
  moved: list.querySelectorAll("li")[1] === first, images: list.querySelectorAll("img").length,
  chosen: list.querySelector(".chosen").textContent,
  total: rows.getTotalSize(), drawn: rows.getVirtualItems().length, refused,
});
"""


@pytest.fixture
async def tried() -> tuple[dict[str, Any], list[str]]:
    """The script's report, and the browser's error messages."""

    async def document(_request: Request) -> Response:
        return HTMLResponse(
            '<!doctype html><link rel="icon" href="data:,"><div id="list"></div>'
            '<div id="frame"></div><script type="module" src="/script.js"></script>',
            headers=PAGE_HEADERS,
        )

    async def script(_request: Request) -> Response:
        return Response(SCRIPT + EVERY_MODULE, media_type="text/javascript")

    served = Loopback(
        Starlette(
            routes=[Route("/", document), Route("/script.js", script), *page.routes()[1:]],
        )
    )
    await served.start()
    messages: list[str] = []
    async with chromium() as browser:
        tab = await browser.new_page()
        tab.on(
            "console",
            lambda message: (
                messages.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        tab.on("pageerror", lambda error: messages.append(str(error)))
        await tab.goto(served.url)
        await expect(tab).not_to_have_title("")
        report = json.loads(await tab.title())
    await served.stop(at_once=True)
    return report, messages


async def test_they_work_under_the_page_s_policy(tried: tuple[dict[str, Any], list[str]]) -> None:
    report, messages = tried
    assert report == {
        "before": ["40px", "1"],
        "after": ["50px", ""],
        "texts": ["b", "a"],
        "moved": True,
        "images": 0,
        "chosen": "b",
        "total": 1_000_000,
        "drawn": report["drawn"],
        "refused": True,
    }
    assert 0 < report["drawn"] < 20
    # The policy must block the script's use of innerHTML.
    assert [
        each for each in messages if "innerHTML" not in each and "TrustedHTML" not in each
    ] == []


def test_each_comes_with_its_licence_and_its_version() -> None:
    pinned = json.loads((ROOT / "package.json").read_text("utf-8"))["devDependencies"]
    versions = [line.split() for line in (VENDOR / "VERSIONS").read_text("utf-8").splitlines()]
    assert {name: version for name, version, _ in versions} == {
        name: pinned[name] for name in ("lit-html", "@tanstack/virtual-core")
    }
    for folder in (each for each in VENDOR.iterdir() if each.is_dir()):
        assert (folder / "LICENSE").stat().st_size > 1_000
