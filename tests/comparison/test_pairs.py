"""Pairs through a worker: what a run's figures say of two bots."""

from typing import Any
from uuid import UUID

import psycopg
from tests.apps.conftest import TELECOM

from evalqueue import Client
from evalqueue.evaluators import figures
from evalqueue.evaluators.apps import documents
from evalqueue.evaluators.apps import store as apps
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.testing import Behaviour

BETTER = """
[[evaluators]]
name = "better"
scope = "pair"
prompt = "Which answer helps more?"
output = { kind = "category", labels = ["first", "second", "tie"] }
"""
HEADER = "conversation_id,question,answer_a,answer_b\n"


async def test_win_rates_and_the_share_of_inconsistent_pairs_are_figures_of_the_run(
    client: Client, judged: Any, dsn: str
):
    app = documents.read(TELECOM + BETTER, Notation.TOML, where="app.toml")
    async with (await client.database()).transaction() as connection:
        await apps.add(connection, app, owner="default")
    # The simulated judge looks at the thread only: the same place wins, whatever the order.
    labels = {f"t{n}": "tie" if n < 3 else "first" for n in range(8)}
    gold = {
        "better": {
            name: {"evidence": [], "reasoning": "so", "verdict": label}
            for name, label in labels.items()
        }
    }
    rows = "".join(f"{name},When?,On Monday.,On Friday.\n" for name in labels)
    alone = "t8,When?,On Monday.,\n"
    run_id: UUID = await judged(
        Behaviour(gold=gold, only_gold=True),
        csv_content=HEADER + rows + alone,
        app_id="telecom",
        evaluators=["better"],
    )

    async with (await client.database()).connection() as connection:
        found = await figures.statistics(connection, run_id, owner="default")
    assert found is not None
    assert found.batch is not None
    (better,) = found.batch.evaluators
    verdict, consistent = better.scores
    assert [(each.label, each.count) for each in verdict.shares] == [
        ("first", 0), ("second", 0), ("tie", 8),
    ]  # fmt: skip
    assert [(each.label, each.count) for each in consistent.shares] == [("true", 3), ("false", 5)]
    inconsistent = consistent.shares[1]
    assert inconsistent.share == 5 / 8
    assert inconsistent.low is not None
    assert inconsistent.high is not None
    assert inconsistent.low < 5 / 8 < inconsistent.high
    assert better.coverage.as_json() == {"judged": 8, "attempted": 8}
    with psycopg.connect(dsn) as connection:
        calls = connection.execute(
            "SELECT thread_id, count(DISTINCT prompt) FROM api_logs GROUP BY thread_id"
        ).fetchall()
    assert dict(calls) == dict.fromkeys(labels, 2)
