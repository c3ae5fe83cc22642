"""Runs the command line with real processes, signals and a real Postgres."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from forking import Command

EVALQUEUE = (sys.executable, "-m", "evalqueue")
_STACKS = frozenset({"demo", "up"})
"""Commands that start child processes."""
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A process that has ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True)
class Running:
    """A running process, and its output so far."""

    process: asyncio.subprocess.Process
    output: dict[str, str] = field(default_factory=lambda: {"out": "", "err": ""})

    async def until(self, text: str, stream: str = "err") -> str:
        """Read until `text` was printed; returns the output so far."""
        source = self.process.stderr if stream == "err" else self.process.stdout
        assert source is not None
        while text not in self.output[stream]:
            line = await source.readline()
            assert line, f"ended without {text!r}: {self.output}"
            self.output[stream] += line.decode()
        return self.output[stream]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> Finished:
        out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Finished(
            exit_code=self.process.returncode,
            out=self.output["out"] + out.decode(),
            err=self.output["err"] + err.decode(),
        )


@dataclass(slots=True)
class Shell:
    """Runs `evalqueue` with a given environment and directory."""

    environment: Mapping[str, str]
    directory: Path
    started: list[asyncio.subprocess.Process] = field(default_factory=list)
    forked: list[BaseProcess] = field(default_factory=list)

    async def start(self, *arguments: str, **environment: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            *EVALQUEUE, *arguments,
            env={**self.environment, **environment},
            cwd=self.directory,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return Running(process)

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> Finished:
        """Run a command and wait for its end.

        It is forked, because importing the program takes longer than most commands. `start` starts
        a new interpreter, for commands that go on running.
        """
        if _STACKS.intersection(arguments):
            running = await self.start(*arguments, **environment)
            assert running.process.stdin is not None
            running.process.stdin.close()
            return await running.end()
        command = Command.start(
            arguments,
            stdin=stdin,
            environment={**self.environment, **environment},
            folder=self.directory,
        )
        self.forked.append(command.process)
        exit_code, out, err = await asyncio.to_thread(command.wait)
        return Finished(exit_code=exit_code, out=out, err=err)

    async def worker(self, *flags: str) -> Running:
        worker = await self.start("worker", *flags)
        await worker.until(" is ready: ")
        return worker

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    async def kill_all(self) -> None:
        for process in self.forked:
            process.kill()
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@dataclass(slots=True)
class Gate:
    """A socket that `hold` jobs connect to. A job waits until the test closes its connection."""

    path: str
    arrivals: asyncio.Queue[asyncio.StreamWriter] = field(default_factory=asyncio.Queue)
    open: list[asyncio.StreamWriter] = field(default_factory=list)

    async def arrived(self) -> asyncio.StreamWriter:
        """Wait for a job to start; returns its connection."""
        return await self.arrivals.get()

    async def accept(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.append(writer)
        await self.arrivals.put(writer)


@pytest.fixture
async def shell(dsn: str, tmp_path: Path) -> AsyncGenerator[Shell]:
    """A shell whose database is migrated and whose job types are those of `shell_jobs`."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
        "DATABASE_URL": dsn,
        "EVALQUEUE_HOME": str(tmp_path / "home"),
        "EVALQUEUE_IMPORTS": "shell_jobs",
        "WORKER_PROCESSES": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    shell = Shell(environment, tmp_path)
    yield shell
    await shell.kill_all()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncGenerator[Gate]:
    """A gate without connections."""
    gate = Gate(str(tmp_path / "gate"))

    server = await asyncio.start_unix_server(gate.accept, gate.path)
    yield gate
    server.close()
    for writer in gate.open:
        writer.close()
