"""Personal data in the file of a job is masked before anything is stored."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from evalqueue import Client, InvalidParams, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database

CONTENT = (
    "thread_id,user_id,query_text,final_response_message\n"
    "anna@example.org,u1,I am Anna Lee,Write to help@example.org\n"
)
HIDDEN = ("anna", "lee", "example.org")


@pytest.fixture
async def client(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Client]:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    (tmp_path / "chats.csv").write_text(CONTENT)
    (tmp_path / "names.txt").write_text("Anna Lee\n")
    settings = Settings(data_dir=tmp_path)
    async with Client(dsn, job_types=[EvaluateBatch], settings=settings) as client:
        yield client


async def everything(database: Database) -> str:
    """All that is stored about datasets and jobs."""
    found: list[object] = []
    async with database.connection() as connection:
        for table in (b"jobs", b"datasets", b"dataset_threads", b"dataset_owners", b"eval_runs"):
            cursor = await connection.execute(b"SELECT * FROM " + table)
            found += await cursor.fetchall()
    return str(found).lower()


@pytest.mark.parametrize(
    "params",
    [
        {"csv_content": CONTENT, "mask": "emails", "mask_names": ["Anna Lee"]},
        {"data_path": "chats.csv", "mask": ["emails"], "mask_names_path": "names.txt"},
    ],
)
@pytest.mark.parametrize("key", [None, "a-key"])
async def test_nothing_of_it_is_stored(
    client: Client, database: Database, params: dict[str, Any], key: str | None
) -> None:
    job = await client.submit_params("evaluate-batch", params, idempotency_key=key)
    again = EvaluateBatch.model_validate(job.params)

    stored = await everything(database)
    assert "i am [name]" in stored
    assert "write to [email]" in stored
    for hidden in HIDDEN:
        assert hidden not in stored
    assert again.mask_names is None


async def test_the_file_of_a_schedule_is_masked_each_time(client: Client) -> None:
    given = EvaluateBatch(data_path="chats.csv", mask_names_path="names.txt")
    admission = AdmissionContext(
        settings=client.settings, database=await client.database(), owner="default"
    )
    lasting = (await given.admit(admission)).lasting()

    assert lasting["mask_names_path"] == "names.txt"
    assert "dataset_id" not in lasting


@pytest.mark.parametrize(
    ("params", "field", "says"),
    [
        ({"dataset_id": f"sha256:{'a' * 64}", "mask": ["emails"]}, "params", "as it was stored"),
        ({"total_items": 4, "mask": ["emails"]}, "params", "as it was stored"),
        ({"data_path": "chats.csv", "mask_names": ["Anna"]}, "params", "mask_names_path"),
        ({"csv_content": CONTENT, "mask_names_path": "names.txt"}, "params", "for data_path"),
        ({"csv_content": CONTENT, "mask": "faces"}, "params.mask.0", "'emails', 'phones'"),
        ({"csv_content": CONTENT, "mask_names": ["A"]}, "params.mask_names", "too short"),
        ({"data_path": "chats.csv", "mask_names_path": "no.txt"}, "params.mask_names_path",
         "data directory"),
        ({"data_path": "chats.csv", "mask_names_path": "../names.txt"}, "params.mask_names_path",
         "data directory"),
    ],
)  # fmt: skip
async def test_what_cannot_be_masked_is_refused(
    client: Client, params: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidParams) as error:
        await client.submit_params("evaluate-batch", params)

    (problem,) = error.value.problems
    assert ".".join(map(str, problem.loc)) == field
    assert says in problem.msg


async def test_sql_stores_no_file_that_is_to_be_masked(client: Client, database: Database) -> None:
    await client.submit(EvaluateBatch(total_items=1))  # declares the job type
    submit = b"SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb)"

    for more in ({"mask": ["emails"]}, {"mask_names": ["Anna Lee"]}):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="SQL masks nothing"):
            async with database.transaction() as connection:
                await connection.execute(submit, [Json({"csv_content": CONTENT, **more})])
    async with database.transaction() as connection:
        await connection.execute(submit, [Json({"csv_content": CONTENT, "mask": None})])

    assert "anna@example.org" in await everything(database)
