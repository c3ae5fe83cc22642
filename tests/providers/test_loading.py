"""Libraries are loaded one after the other, however many threads need one."""

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
