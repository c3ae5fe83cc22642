"""What a program keeps that imports the library: its logging, and its provider of traces."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, importlib, logging, pkgutil, sys, threading, warnings

OURS = ("evalqueue", "psycopg", "psycopg.pool", "procrastinate", "uvicorn", "uvicorn.error",
    "httpx", "httpx2", "openai", "asyncio", "py.warnings")
logging.basicConfig(level=logging.ERROR, format="host: %(message)s")
for name in OURS:
    logging.getLogger(name).setLevel(logging.CRITICAL)

def state():
    loggers = [logging.getLogger(), *map(logging.getLogger, OURS)]
    return (
        [(each.name, each.level, each.propagate, each.disabled, list(each.handlers),
            list(each.filters)) for each in loggers],
        [(each.level, each.formatter, list(each.filters)) for each in logging.getLogger().handlers],
        logging.root.manager.disable, logging.lastResort, logging.raiseExceptions,
        logging.getLoggerClass(), logging.getLogRecordFactory(),
        warnings.showwarning, sys.excepthook, threading.excepthook,
    )

before = state()
import evalqueue
import evalqueue.daemon
assert "opentelemetry" not in sys.modules
assert state() == before, "import"
for each in pkgutil.walk_packages(evalqueue.__path__, "evalqueue."):
    if not each.name.endswith("__main__"):
        importlib.import_module(each.name)
assert state() == before, "import of everything"

from evalqueue import Client, Handlers, JobParams
from evalqueue.testing import run_jobs

class Greet(JobParams, job_type="greet"):
    pass

handlers = Handlers()

@handlers.handles(Greet)
async def greet(context, params):
    return {}

async def main():
    async with Client() as client:
        job = await client.submit(Greet())
        await run_jobs(sys.argv[1], handlers)
        async with evalqueue.daemon.app.open_async() as app:
            await app.run_worker_async(wait=False, install_signal_handlers=False)
        assert (await client.get(job.id)).status == "completed"

asyncio.run(main())
assert state() == before, "work"
trace = sys.modules.get("opentelemetry.trace")
assert trace is None or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
ours = [each for each in logging.root.manager.loggerDict.values()
    if isinstance(each, logging.Logger) and each.name.startswith("evalqueue.")]
assert len(ours) > 10
assert all(not each.handlers and each.propagate and each.level == 0 for each in ours)
print("unchanged")
"""


def test_a_program_that_imports_the_library_keeps_its_logging(dsn: str, tmp_path: Path):
    asked = {
        "DATABASE_URL": dsn,
        "EVALQUEUE_HOME": str(tmp_path),
        "EVALQUEUE_LOG_FORMAT": "json",
        "EVALQUEUE_LOG_LEVEL": "DEBUG",
        "EVALQUEUE_LLM_PROVIDER": "simulated",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, dsn],
        env={**os.environ, **asked}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "unchanged\n"
    assert done.stderr == "", "nothing is logged below the host's own level"


WITHOUT_THE_EXTRA = """
import asyncio, logging, sys

sys.modules["opentelemetry"] = None  # as if it were not installed
logging.basicConfig(format="%(message)s")

import psycopg
from evalqueue import Client, Handlers, JobParams
from evalqueue.telemetry import exporters
from evalqueue.telemetry.spans import continued
from evalqueue.testing import run_jobs

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

class Greet(JobParams, job_type="greet"):
    pass

handlers = Handlers()

@handlers.handles(Greet)
async def greet(context, params):
    return {}

async def main():
    exporters.start("a-service")
    async with Client() as client:
        with continued(TRACE):
            job = await client.submit(Greet())
        await run_jobs(sys.argv[1], handlers)
        job = await client.get(job.id)
    print(job.status, job.traceparent == TRACE)

asyncio.run(main())
"""


def test_without_the_extra_jobs_run_and_it_is_named(dsn: str, tmp_path: Path):
    asked = {
        "DATABASE_URL": dsn,
        "EVALQUEUE_HOME": str(tmp_path),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA, dsn],
        env={**os.environ, **asked}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "completed True\n", done.stderr
    assert done.stderr == (
        "OTEL_… is set, but no traces are sent: install evalqueue with its extra otel\n"
    )
