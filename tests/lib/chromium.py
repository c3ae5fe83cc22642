"""The system's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright, expect

expect.set_options(timeout=30_000)  # the machine may be busy

FLAGS = [
    "--no-sandbox",  # tests may run as root; the pages are ours
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


def path_of_chromium() -> str:
    """The path of Chromium: `EVALQUEUE_CHROMIUM`, or on the PATH."""
    names = (os.environ.get("EVALQUEUE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    assert found is not None, "There is no Chromium: ./run test fetches one, or says what to do"
    return found


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """A new browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path_of_chromium(),
            args=FLAGS,
            chromium_sandbox=False,
            timeout=120_000,
        )
        try:
            yield browser
        finally:
            await browser.close()
