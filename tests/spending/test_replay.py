"""A run is replayed: its answers are read anew, and no vendor is called."""

from collections import defaultdict
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
from costing import Judged, query, run_of
from tests.apps.conftest import TELECOM

from evalqueue import Client, JobStatus
from evalqueue.errors import InvalidParams
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.apps import documents
from evalqueue.evaluators.apps import store as apps
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

EVALUATOR = """
[[evaluators]]
name = "manners"
scope = "turn"
prompt = "{prompt}"
output = {{ kind = "category", labels = ["KIND", "RUDE"]{more} }}
"""
THREADS = [f"t{number}" for number in range(6)]
TURNS = range(1, 4)
ROWS = "".join(f"{name},When {turn}?,On Monday.\n" for name in THREADS for turn in TURNS)
RANKED = ', good = ["KIND"], bad = ["RUDE"]'


@pytest.fixture
async def vendor() -> AsyncGenerator[SimulatedServer]:
    """The first turn of each conversation is rude, the others are kind."""
    gold = {"manners": {name: {str(turn): _label(turn) for turn in TURNS} for name in THREADS}}
    async with SimulatedServer(Behaviour(gold=gold, only_gold=True)) as server:
        yield server


def _label(turn: int) -> dict[str, object]:
    return {"evidence": [], "reasoning": "so", "verdict": "RUDE" if turn == 1 else "KIND"}


@pytest.fixture
def saved(client: Client):
    """Stores the app with an evaluator of its own."""

    async def save(*, prompt: str = "Is it friendly?", more: str = "") -> None:
        text = TELECOM + EVALUATOR.format(prompt=prompt, more=more)
        app = documents.read(text, Notation.TOML, where="app.toml")
        async with (await client.database()).transaction() as connection:
            await apps.add(connection, app, owner="default")

    return save


@pytest.fixture
def batch(judge: Judged):
    """A batch that asks the evaluator, and nothing else."""

    async def judged(**params: object):
        data = f"thread_id,question,answer\n{ROWS}"
        return await judge(csv_content=data, app_id="telecom", evaluators=["manners"], **params)

    return judged


async def verdicts(database: Database, run_id: object) -> dict[str, dict[int | None, str | None]]:
    """The labels of each conversation by turn. None: of the whole conversation."""
    rows = await query(
        database, "SELECT thread_id, turn, value_text FROM scores WHERE run_id = %s", run_id
    )
    found: dict[str, dict[int | None, str | None]] = defaultdict(dict)
    for thread_id, turn, label in rows:
        found[thread_id][turn] = label
    return found


async def test_a_changed_aggregation_is_tried_on_old_answers_while_the_vendor_is_down(
    batch: Judged, saved: Judged, vendor: SimulatedServer, database: Database
):
    await saved()
    first = await batch()
    asked = vendor.simulation.stats["requests"]
    assert asked == len(THREADS) * len(TURNS)
    await vendor.__aexit__(None, None, None)
    await saved(more=RANKED)

    again = await batch(replay=str(run_of(first)))

    assert again.status is JobStatus.COMPLETED, again.error_message
    then = await verdicts(database, run_of(first))
    now = await verdicts(database, run_of(again))
    assert then == {key: {1: "RUDE", 2: "KIND", 3: "KIND", None: "KIND"} for key in THREADS}
    assert now == {key: {1: "RUDE", 2: "KIND", 3: "KIND", None: "RUDE"} for key in THREADS}
    assert again.result is not None
    assert again.result["replayed_run_id"] == str(run_of(first))
    assert (again.result["reused_llm_calls"], again.result["llm_calls"]) == (asked, 0)
    assert again.result["cost_usd"] == "0"

    # By the id of the job, and of a run that was replayed itself.
    third = await batch(replay=str(again.id))
    assert await verdicts(database, run_of(third)) == now


async def test_a_question_that_was_not_asked_is_not_judged(
    batch: Judged, saved: Judged, vendor: SimulatedServer, database: Database
):
    await saved()
    first = await batch()
    asked = vendor.simulation.stats["requests"]
    await saved(prompt="Is it polite?")

    again = await batch(replay=str(run_of(first)))

    assert vendor.simulation.stats["requests"] == asked
    assert again.status is JobStatus.FAILED
    rows = await query(
        database, "SELECT DISTINCT value_text, failure FROM scores WHERE run_id = %s", run_of(again)
    )
    assert rows == [(None, "not_recorded")]
    assert f"The run {run_of(first)} has no answer to this question" in (again.error_message or "")


async def test_what_the_earlier_run_left_out_is_not_judged(
    batch: Judged, saved: Judged, vendor: SimulatedServer, database: Database
):
    await saved()
    first = await batch(sample_size=4)
    asked = vendor.simulation.stats["requests"]
    again = await batch(replay=str(run_of(first)))

    assert again.status is JobStatus.COMPLETED
    assert vendor.simulation.stats["requests"] == asked
    judged = await verdicts(database, run_of(first))
    now = await verdicts(database, run_of(again))
    assert {name for name, found in now.items() if None not in found.values()} == judged.keys()


@pytest.mark.parametrize("votes", [3])
async def test_each_vote_has_its_own_answer(
    batch: Judged, saved: Judged, vendor: SimulatedServer, database: Database, votes: int
):
    await saved()
    first = await batch(votes={"manners": votes})
    asked = vendor.simulation.stats["requests"]
    again = await batch(votes={"manners": votes}, replay=str(run_of(first)))
    more = await batch(votes={"manners": 9}, replay=str(run_of(first)))

    assert await verdicts(database, run_of(again)) == await verdicts(database, run_of(first))
    assert more.status is JobStatus.FAILED, "most of the votes were not cast then"
    assert vendor.simulation.stats["requests"] == asked


async def test_a_batch_of_another_owner_or_of_no_one_is_not_replayed(
    client: Client, batch: Judged, saved: Judged
):
    await saved()
    first = await batch()
    for run_id, owner in ((run_of(first), "anna"), (uuid4(), "default")):
        params = EvaluateBatch(total_items=6, replay=run_id)
        with pytest.raises(InvalidParams, match="There is no batch"):
            await client.submit(params, owner=owner)


@pytest.mark.parametrize("other", [{"reuse": True}, {"mode": "economy"}])
def test_a_replay_asks_nobody_else(other: dict[str, object]):
    with pytest.raises(ValueError, match="replay"):
        EvaluateBatch(total_items=6, replay=uuid4(), **other)  # pyright: ignore[reportArgumentType]
