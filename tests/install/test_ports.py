"""A port that another process takes between the check and the start."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from evalqueue import Settings
from evalqueue.cli.stack.child import ChildExited, ChildProcess
from evalqueue.cli.stack.plan import StackPlan, api


async def start_api(dsn: str, home: Path, port: int, *, or_free_port: bool) -> str:
    settings = Settings(home=home)
    environment = os.environ | {"DATABASE_URL": dsn, "EVALQUEUE_HOME": str(home)}
    plan = StackPlan(settings=settings, port=port, or_free_port=or_free_port, simulated=False)
    child = ChildProcess(api(environment, plan), lambda _name, _line: None)
    try:
        return await child.start()
    finally:
        if child._process is not None and child._process.returncode is None:  # pyright: ignore[reportPrivateUsage]
            child._process.kill()  # pyright: ignore[reportPrivateUsage]
            await child.exited()


async def test_where_it_was_asked_for_the_port_and_the_setting_are_named(dsn: str, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ChildExited) as ended:
            await start_api(dsn, tmp_path, port, or_free_port=False)
    assert f"Can't listen on port {port} of 127.0.0.1: Address already in use" in str(ended.value)
    assert "EVALQUEUE_PORT" in str(ended.value)
    assert "\n" not in str(ended.value)


async def test_where_it_was_not_another_one_is_used(dsn: str, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = await start_api(dsn, tmp_path, port, or_free_port=True)
    assert urlsplit(address).port not in {None, port}
