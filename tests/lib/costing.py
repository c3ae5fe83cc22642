"""A price for the simulated model, and what a vendor that has it would charge."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from evalqueue import Job
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.evaluators.simulated.conversations import kaira_csv, kaira_gold
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings
from evalqueue.testing import run_jobs

Judged = Callable[..., Any]

INPUT, OUTPUT = Decimal("2.5"), Decimal(10)
"""US dollars for a million tokens."""


def price_list(input_price: Decimal = INPUT, output_price: Decimal = OUTPUT) -> str:
    """The simulated model's price, as EVALQUEUE_PRICES."""
    price = {"input": str(input_price), "output": str(output_price)}
    return json.dumps({"simulated-judge": price})


def billed(
    stats: dict[str, Any], input_price: Decimal = INPUT, output_price: Decimal = OUTPUT
) -> Decimal:
    """What a simulated vendor would charge for all that it answered."""
    return (stats["tokens_in"] * input_price + stats["tokens_out"] * output_price) / 1_000_000


def repeated(times: int) -> tuple[str, dict[str, Any]]:
    """The bundled conversations, each several times under other names; and their gold labels."""
    header, *lines = kaira_csv().read_text("utf-8").splitlines(keepends=True)
    text = header + "".join(
        line.replace("thr_", f"thr{n}_") for n in range(times) for line in lines
    )
    gold: dict[str, Any] = json.loads(Path(kaira_gold()).read_text("utf-8"))
    named = {
        evaluator: {
            name.replace("thr_", f"thr{n}_"): found
            for n in range(times)
            for name, found in threads.items()
        }
        for evaluator, threads in gold.items()
    }
    return text, named


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


def run_of(job: Job) -> UUID:
    return UUID(job.progress.details["run_id"])


async def work(dsn: str) -> None:
    """Run the jobs that wait."""
    await run_jobs(dsn, evaluation_handlers(Settings(), ProviderSettings()))
