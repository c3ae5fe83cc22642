"""Progress written → seen in the browser.

./run bench seen [CHANGES]

A job's progress is written as a worker writes it, by `evalqueue_flush_job`, at random intervals; a
page in Chromium notes when its progress bar shows it. Both clocks are this machine's. The API is a
process of its own. CHROMIUM: as for the tests.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from playwright.async_api import Error, Page, async_playwright
from processes import percentiles, postgres, process

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lib"))
from chromium import FLAGS, path_of_chromium

PORT = 18730
TOTAL = 1_000_000
WATCH = """(id) => {
    globalThis.seen = {};
    const look = () => {
        const bar = document.querySelector(`tr[data-job='${id}'] [role=progressbar]`);
        const now = bar?.getAttribute("aria-valuenow");
        if (now) globalThis.seen[now] ??= performance.timeOrigin + performance.now();
    };
    const all = { subtree: true, childList: true, attributes: true, characterData: true };
    new MutationObserver(look).observe(document.body, all);
}"""


async def main(changes: int) -> None:
    rng = random.Random(1)  # noqa: S311
    async with postgres() as database:
        async with database.connection() as connection:
            cursor = await connection.execute("SELECT evalqueue_submit_job('watched')")
            (job_id,) = await cursor.fetchone() or (None,)
            await connection.execute(
                "SELECT 1 FROM "
                "evalqueue_register_worker('bench', 'here', 1, '0', NULL, '{watched}', 1) AS w, "
                "evalqueue_claim_jobs(w.id, w.name, NULL, '{watched}', 1, 3600)"
            )
        async with (
            process(
                sys.executable, "-m", "evalqueue", "serve", f"--port={PORT}",
                DATABASE_URL=database.conninfo,
            ),
            async_playwright() as playwright,
        ):  # fmt: skip
            browser = await playwright.chromium.launch(
                executable_path=path_of_chromium(), args=FLAGS, chromium_sandbox=False
            )
            page = await open_page(await browser.new_page())
            await page.wait_for_selector(f"tr[data-job='{job_id}'] [role=progressbar]")
            await page.evaluate(WATCH, str(job_id))
            written: dict[int, float] = {}
            for current in range(1, changes + 1):
                await asyncio.sleep(0.1 + rng.expovariate(5))
                async with database.connection() as connection:
                    await connection.execute(
                        "SELECT evalqueue_flush_job(%s, 1, jsonb_build_object('current', %s::int, "
                        "'total', %s::int, 'message', ''), 3600)",
                        [job_id, current, TOTAL],
                    )
                written[current] = time.time() * 1000
            await asyncio.sleep(1)
            seen: dict[str, float] = await page.evaluate("globalThis.seen")
            await browser.close()
    waits = [seen[str(each)] - at for each, at in written.items() if str(each) in seen]
    print(percentiles("written → seen", waits, "ms"))
    print(f"{len(waits)} of {changes} seen; the others were replaced before they were shown")


async def open_page(page: Page) -> Page:
    while True:
        try:
            await page.goto(f"http://127.0.0.1:{PORT}/")
        except Error as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
            await asyncio.sleep(0.1)
        else:
            return page


os.environ.setdefault("NO_PROXY", "127.0.0.1")
asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
