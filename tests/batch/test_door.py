"""What `evaluate-batch` refuses at the door, before anything is stored, and what it fills in."""

import asyncio
from collections.abc import AsyncGenerator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from evalqueue import Client, InvalidParams, Settings
from evalqueue.evaluators import EvaluateAdversarial, EvaluateBatch
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.simulated.conversations import sample_csv
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database

HEADER = (
    "thread_id,user_id,session_id,query_text,final_response_message,intent_detected,timestamp,"
    "has_image"
)
GOOD = "t1,u1,s1,2 idli,Noted,FoodAgent,2025-11-01T08:00:00Z,0"
CREDENTIALS = (
    "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS", "EVALQUEUE_LLM_PROVIDER", "EVALQUEUE_LLM_MODEL",
)  # fmt: skip


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any vendor's key."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
async def client(dsn: str, tmp_path: Path, no_keys: pytest.MonkeyPatch) -> AsyncGenerator[Client]:
    """A client whose data directory holds one good file, and which has the simulated provider."""
    no_keys.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    data = tmp_path / "data"
    data.mkdir()
    (data / "good.csv").write_text(f"{HEADER}\n{GOOD}\n")
    (tmp_path / "outside.csv").write_text(f"{HEADER}\n{GOOD}\n")
    settings = Settings(data_dir=data)
    async with Client(dsn, job_types=[EvaluateBatch], settings=settings) as client:
        yield client


async def refused(client: Client, params: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidParams) as error:
        await client.submit_params("evaluate-batch", params)
    assert await client.list() == [], "nothing was stored"
    return [(".".join(map(str, p.loc)), p.msg) for p in error.value.problems]


async def test_every_bad_row_is_named_at_once_with_file_row_column_and_reason(client: Client):
    rows = [
        GOOD,
        "t1,u1,s1,hi,hello,Greeting,yesterday,0",
        ",u1,s1,hi,hello,Greeting,2025-11-01,maybe",
    ]
    content = "\n".join([HEADER, *rows])
    with pytest.raises(InvalidParams) as error:
        await client.submit_params("evaluate-batch", {"csv_content": content})

    assert [(p.ctx["row"], p.ctx["column"]) for p in error.value.problems if p.ctx] == [
        (3, "timestamp"), (4, "thread_id"), (4, "has_image"),
    ]  # fmt: skip
    assert all(p.loc == ("params", "csv_content") for p in error.value.problems)
    assert all(p.type == "bad_row" and p.ctx and p.ctx["reason"] for p in error.value.problems)
    assert await client.list() == []


async def test_csv_content_becomes_a_dataset_that_can_be_submitted_again_as_it_is(
    client: Client, database: Database
):
    content = f"{HEADER}\n{GOOD}\n"
    job = await client.submit_params("evaluate-batch", {"csv_content": content, "seed": 7})
    again = await client.submit_params("evaluate-batch", dict((await client.get(job.id)).params))

    assert "csv_content" not in job.params
    assert again.params == job.params
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT id, content, size_bytes FROM datasets")
        assert await cursor.fetchall() == [(job.params["dataset_id"], None, len(content))]
        thread = await datasets.thread(connection, job.params["dataset_id"], "t1")
    assert thread is not None
    assert [turn.user_text for turn in thread.turns] == ["2 idli"]


async def test_what_is_left_open_is_decided_at_the_door_and_kept_in_the_params(client: Client):
    job = await client.submit_params("evaluate-batch", {"data_path": "good.csv"})

    assert job.params == {
        "data_path": "good.csv", "name": "good.csv, kaira-bot",
        "llm_provider": "simulated", "llm_model": "simulated-judge",
        "app_id": "kaira-bot", "app_digest": app_store.shipped("kaira-bot").digest,
        "dataset_id": "sha256:" + sha256(f"{HEADER}\n{GOOD}\n".encode()).hexdigest(),
    }  # fmt: skip


async def test_a_job_without_a_name_and_a_file_is_called_after_what_it_is_about(client: Client):
    text = f"{HEADER}\n{GOOD}\n"
    batch = await client.submit(EvaluateBatch(csv_content=text))
    named = await client.submit(EvaluateBatch(csv_content=text, name="Mine"))
    test = await client.submit(EvaluateAdversarial())

    assert batch.name == "1 conversation, kaira-bot"
    assert named.name == "Mine"
    assert test.name == "adversarial test, kaira-bot"


async def test_the_one_provider_whose_key_is_set_is_taken(
    client: Client, no_keys: pytest.MonkeyPatch
):
    no_keys.delenv("EVALQUEUE_LLM_PROVIDER")
    no_keys.setenv("OPENAI_API_KEY", "sk-made-up")
    job = await client.submit_params(
        "evaluate-batch", {"data_path": "good.csv", "llm_model": "gpt-4o-mini"}
    )

    assert job.params["llm_provider"] == "openai"
    assert "sk-made-up" not in str(job)


@pytest.mark.parametrize(
    ("params", "environment", "field", "says"),
    [
        ({}, {}, "llm_provider", "OPENAI_API_KEY"),
        ({"llm_provider": "openai"}, {}, "llm_provider", "OPENAI_API_KEY"),
        ({"llm_provider": "gemini"}, {"GEMINI_API_KEY": "k"}, "llm_model", "EVALQUEUE_LLM_MODEL"),
        (
            {"llm_provider": "azure_openai"}, {"AZURE_OPENAI_API_KEY": "k"},
            "llm_provider", "AZURE_OPENAI_ENDPOINT",
        ),
        ({}, {"OPENAI_API_KEY": "a", "GEMINI_API_KEY": "b"}, "llm_provider", "llm_provider"),
        ({"llm_provider": "clippy"}, {}, "llm_provider", "gemini"),
    ],
)  # fmt: skip
async def test_a_missing_key_or_model_is_refused_and_what_to_set_is_said(
    client: Client,
    no_keys: pytest.MonkeyPatch,
    params: dict[str, Any],
    environment: dict[str, str],
    field: str,
    says: str,
):
    no_keys.delenv("EVALQUEUE_LLM_PROVIDER")
    for name, value in environment.items():
        no_keys.setenv(name, value)

    ((where, message),) = await refused(client, {"data_path": "good.csv"} | params)

    assert where == f"params.{field}"
    assert says in message


@pytest.mark.parametrize(
    ("params", "field", "says"),
    [
        ({"data_path": "good.csv", "app_id": "clippy"}, "params.app_id", "kaira-bot"),
        ({"data_path": "good.csv", "thread_ids": ["t1", "t9"]}, "params.thread_ids", "t9"),
        ({"data_path": "good.csv", "api_key": "sk-1"}, "params.api_key", "OPENAI_API_KEY"),
        ({"data_path": "good.csv", "sample_size": 0}, "params.sample_size", "1"),
        ({"data_path": "good.csv", "smaple_size": 3}, "params.smaple_size", "no such key"),
        ({"data_path": "good.csv", "csv_content": "a"}, "params", "data_path and csv_content"),
        ({}, "params", "none is given"),
        ({"total_items": 5000}, "params.total_items", "48"),
        ({"data_path": "../outside.csv"}, "params.data_path", "data directory"),
        ({"data_path": "/etc/passwd"}, "params.data_path", "data directory"),
        ({"data_path": "missing.csv"}, "params.data_path", "missing.csv"),
        ({"data_path": "good.csv\x00"}, "params.data_path", ""),
        ({"dataset_id": "sha256:" + "0" * 64}, "params.dataset_id", "no dataset"),
        ({"dataset_id": "latest"}, "params.dataset_id", "whole id"),
        (
            {"data_path": "good.csv", "evaluate_intent": False, "evaluate_correctness": False,
             "evaluate_efficiency": False},
            "params.evaluators", "switched off",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_work_is_refused_by_the_name_of_its_field(
    client: Client, params: dict[str, Any], field: str, says: str
):
    ((where, message),) = await refused(client, params)

    assert where == field
    assert says in message


async def test_text_of_five_megabytes_with_everything_hostile_in_it_is_taken(client: Client):
    cell = "x" * 5_000_000 + "<script>alert(1)</script> \x00 \ud83d"
    content = f'{HEADER}\n{GOOD}\nt2,u,s,"{cell}",ok,General,2025-11-01,0\n'

    job = await client.submit_params("evaluate-batch", {"csv_content": content})

    assert job.params["dataset_id"].startswith("sha256:")


async def test_a_sample_is_the_same_each_time_and_smaller_ones_lie_within_it(
    client: Client, database: Database
):
    params = EvaluateBatch(csv_content=sample_csv().read_text(), sample_size=3, seed=1)
    admission = AdmissionContext(settings=client.settings, database=database)
    dataset = await params.content(admission)
    three = (await params.choose(admission, dataset.id)).thread_ids
    two = (
        await params.model_copy(update={"sample_size": 2}).choose(admission, dataset.id)
    ).thread_ids

    assert (await params.choose(admission, dataset.id)).thread_ids == three
    assert set(two) < set(three)


async def test_submissions_hold_no_connection_while_they_are_admitted(dsn: str):
    """Else each of them would wait for another one's."""
    params = EvaluateBatch(total_items=1, llm_provider="simulated")
    async with Client(dsn, settings=Settings(pool_size=2)) as client:
        async with asyncio.timeout(8):
            one_by_one = await asyncio.gather(*(
                client.submit(params, idempotency_key=key)
                for key in (None, None, None, "a", "b", "c")
            ))  # fmt: skip
            together = await client.submit_many([params] * 2)
    assert len({job.id for job in [*one_by_one, *together]}) == 8
