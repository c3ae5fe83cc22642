"""Libraries are loaded one after the other, however many threads need one, and what they brought is
not looked at for garbage."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evalqueue.evaluators.loading import load

BODY = """
import time
from log_of_modules import log
log.append("begin")
time.sleep(0.1)
log.append("end")
"""


def test_no_module_is_loaded_while_another_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "log_of_modules.py").write_text("log = []")
    names = [f"made_up_module_{number}" for number in range(4)]
    for name in names:
        (tmp_path / f"{name}.py").write_text(BODY)

    with ThreadPoolExecutor(len(names)) as threads:
        loaded = [each.__name__ for each in threads.map(load, names)]

    assert loaded == names
    assert sys.modules["log_of_modules"].log == ["begin", "end"] * len(names)


COUNTED = """
import asyncio, gc
from evalqueue.evaluators.providers.registry import ModelChoice, ProviderRegistry, ProviderSettings

def collections():
    return sum(each["collections"] for each in gc.get_stats())

async def main():
    registry = ProviderRegistry(ProviderSettings(openai_api_key="none"))
    await registry.provider(ModelChoice(provider="openai", model="model"))
    before = collections()
    objects = [[] for _ in range(10_000)]
    print(gc.get_freeze_count() > 10_000, collections() - before)
    await registry.aclose()

asyncio.run(main())
"""


def test_the_objects_of_calls_in_flight_are_not_looked_at_again_and_again() -> None:
    counted = subprocess.run(
        [sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True
    )

    assert counted.stdout == "True 0\n"
