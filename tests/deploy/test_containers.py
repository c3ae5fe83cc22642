"""The container image: what it is built from, and its process as PID 1."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EARLY_SECONDS = 60


def child_of(pid: int) -> int:
    """The process in the new PID namespace, which is PID 1 there."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := children.read_text().split()):
        pass
    return int(found[0])


def has_handler(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    assert caught is not None
    return bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.fixture
def namespace() -> list[str]:
    """The command that makes the next one PID 1 of a namespace of its own."""
    unshare = shutil.which("unshare")
    if sys.platform != "linux" or unshare is None:
        pytest.skip("there are no PID namespaces here")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [unshare, *user, "--pid", "--fork", "--kill-child"]


def test_pid_1_ends_on_sigterm_while_it_starts(namespace: list[str], tmp_path: Path) -> None:
    """A command that waits for its database has no handler of its own yet."""
    process = subprocess.Popen(
        [*namespace, sys.executable, "-m", "evalqueue", "migrate"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
            "EVALQUEUE_DATABASE_WAIT_SECONDS": "300",
        },
    )
    try:
        first = child_of(process.pid)
        while not has_handler(first, signal.SIGTERM):
            assert process.poll() is None
        os.kill(first, signal.SIGTERM)
        assert process.wait(EARLY_SECONDS) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
