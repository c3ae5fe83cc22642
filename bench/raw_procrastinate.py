"""A task that does nothing, on plain procrastinate: what the queue's benchmarks compare with."""

import os

import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["RAW_DSN"]))


@app.task(name="noop", queue="raw")
async def noop() -> None:
    pass
