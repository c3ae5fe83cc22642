"""Two runs compared over HTTP: against what is computed here from the same small data."""

import json
import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from forking import Command
from tests.http.conftest import ENTRIES, TOKENS, EvaluateTest, bearer

from evalqueue import Client, Settings
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.postgres.database import Database
from evalqueue.postgres.rows import jsonb

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
Found = dict[str, Any]

MANNERS = EvaluatorDeclaration(
    name="manners",
    title="Manners",
    scores=(
        ScoreDeclaration(
            name="verdict", title="Verdict", kind=ScoreKind.CATEGORY,
            labels=("POLITE", "CURT", "COLD", "RUDE", "SILENT"),
            good=("POLITE",), bad=("RUDE", "COLD"), neutral=("SILENT",),
        ),
        ScoreDeclaration(
            name="seconds", title="Seconds", kind=ScoreKind.NUMBER, higher_is_better=False
        ),
        ScoreDeclaration(name="greets", title="Greets", kind=ScoreKind.BOOLEAN),
    ),
    headline="verdict",
    details_key="manners",
)  # fmt: skip
VERDICTS = [
    *[("POLITE", "CURT")] * 4,
    *[("POLITE", "RUDE")] * 6,
    *[("POLITE", "COLD")] * 2,
    *[("RUDE", "POLITE")] * 3,
    ("CURT", "RUDE"),
    *[("POLITE", "SILENT")] * 2,
    *[("POLITE", "POLITE")] * 32,
]
"""Before and after, of each conversation."""
SECONDS = [(float(i), float(i) + [0.0, 3.0, -1.0][i % 3]) for i in range(len(VERDICTS))]
STUDENT_49 = 2.00958
"""The 97.5 % point of Student's distribution with 49 degrees of freedom, from a table."""
MCNEMAR_12_TO_3 = 2 * (1 + 15 + 105 + 455) / 2**15

Values = Sequence[tuple[str, str | float | bool]]


async def add_run(
    database: Database,
    conversations: Sequence[Values],
    *,
    owner: str = "default",
    model: str = "m",
    version: str = "1",
) -> UUID:
    """A run of conversations t0, t1, …, each with these scores."""
    client = Client(database=database, settings=Settings(), job_types=[EvaluateTest])
    job = await client.submit(EvaluateTest(app_id="a", name=f"by {model}"), owner=owner)
    run_id = UUID(str(job.progress.details["run_id"]))
    columns: dict[type, str] = {str: "value_text", float: "value_number", bool: "value_boolean"}
    kinds = {each.name: each.kind.value for each in MANNERS.scores}
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE eval_runs SET llm_provider = 'p', llm_model = %s, config = %s WHERE id = %s",
            [model, jsonb({"evaluators": [MANNERS.model_dump(mode="json")]}), run_id],
        )
        for number, values in enumerate(conversations):
            cursor = await connection.execute(
                "INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)"
                " VALUES (%s, %s, '{}', 1, 1) RETURNING id",
                [run_id, f"t{number}"],
            )
            ((row_id,),) = await cursor.fetchall()
            for name, value in values:
                column = columns[type(value)]
                statement = (
                    "INSERT INTO scores (run_id, evaluation_id, thread_id, evaluator, version,"
                    f" name, kind, {column}) VALUES (%s, %s, %s, 'manners', %s, %s, %s, %s)"
                )
                await connection.execute(
                    statement.encode(),
                    [run_id, row_id, f"t{number}", version, name, kinds[name], value],
                )
    return run_id


@pytest.fixture
async def pair(database: Database) -> tuple[UUID, UUID]:
    """A candidate and its baseline."""
    before = [
        [("verdict", verdict), ("seconds", seconds), ("greets", True)]
        for (verdict, _), (seconds, _) in zip(VERDICTS, SECONDS, strict=True)
    ]
    after = [
        [("verdict", verdict), ("seconds", seconds), ("greets", number > 0)]
        for number, ((_, verdict), (_, seconds)) in enumerate(zip(VERDICTS, SECONDS, strict=True))
    ]
    baseline = await add_run(database, before)
    return await add_run(database, [*after, [("verdict", "RUDE")]]), baseline


async def comparison(api: httpx.AsyncClient, candidate: UUID, baseline: UUID) -> Found:
    reply = await api.get(f"/api/eval-runs/{candidate}/comparison/{baseline}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def score(found: Found, name: str) -> Found:
    (one,) = [each for each in found["scores"] if each["name"] == name]
    return one


async def test_rates_intervals_and_p_values_are_those_of_the_pairs(
    api: httpx.AsyncClient, pair: tuple[UUID, UUID]
) -> None:
    found = await comparison(api, *pair)

    assert found["conversations"] == {"candidate": 51, "baseline": 50, "both": 50, "changed": 0}
    assert found["notes"] == ["1 conversation is in the candidate only."]
    verdict = score(found, "verdict")
    assert (verdict["change"], verdict["improved"], verdict["worsened"]) == ("worse", 3, 12)
    assert verdict["before"] == pytest.approx(44 / 48)
    assert verdict["after"] == pytest.approx(35 / 48)
    difference = verdict["difference"]
    assert difference["pairs"] == 48
    assert difference["difference"] == pytest.approx(-9 / 48)
    assert difference["p_value"] == pytest.approx(MCNEMAR_12_TO_3)
    lost, gained = 13 / 50, 4 / 50  # Bonett and Price add one to each, and two to the pairs
    half = 1.959964 * ((lost + gained - (gained - lost) ** 2) / 50) ** 0.5
    assert difference["low"] == pytest.approx(gained - lost - half, abs=1e-6)
    assert difference["high"] == pytest.approx(gained - lost + half, abs=1e-6)

    seconds = score(found, "seconds")
    moved = [after - before for before, after in SECONDS]
    assert seconds["before"] == pytest.approx(statistics.fmean(e for e, _ in SECONDS))
    assert seconds["after"] == pytest.approx(statistics.fmean(e for _, e in SECONDS))
    assert (seconds["improved"], seconds["worsened"]) == (16, 17)
    mean, half = statistics.fmean(moved), STUDENT_49 * statistics.stdev(moved) / 50**0.5
    assert seconds["difference"]["low"] == pytest.approx(mean - half, abs=1e-4)
    assert seconds["difference"]["high"] == pytest.approx(mean + half, abs=1e-4)
    assert seconds["change"] == "worse"
    assert seconds["difference"]["p_value"] is None

    greets = score(found, "greets")
    assert (greets["change"], greets["improved"], greets["worsened"]) == ("unclear", 0, 0)


async def test_flips_are_listed_by_direction_the_severest_first(
    api: httpx.AsyncClient, database: Database, pair: tuple[UUID, UUID]
) -> None:
    found = await comparison(api, *pair)

    assert found["flip_totals"] == {"worse": 12 + 17, "better": 3 + 16, "other": 3 + 1}
    flips = found["flips"]
    assert len(flips) == sum(found["flip_totals"].values())
    verdicts: dict[str, list[tuple[str, str]]] = {"worse": [], "better": [], "other": []}
    for each in flips:
        if each["name"] == "verdict":
            verdicts[each["direction"]].append((each["before"], each["after"]))
    assert verdicts == {
        "worse": [
            *[("POLITE", "RUDE")] * 6, *[("POLITE", "COLD")] * 2, *[("POLITE", "CURT")] * 4
        ],
        "better": [("RUDE", "POLITE")] * 3,
        "other": [("CURT", "RUDE"), *[("POLITE", "SILENT")] * 2],
    }  # fmt: skip
    directions = [each["direction"] for each in flips]
    assert directions == sorted(directions, key=["worse", "better", "other"].index)
    (greets,) = [each for each in flips if each["name"] == "greets"]
    assert (greets["thread_id"], greets["before"], greets["after"]) == ("t0", True, False)

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT id, run_id, thread_id FROM thread_evaluations")
        rows = {row_id: (run, thread) for row_id, run, thread in await cursor.fetchall()}
    for each in flips:
        assert rows[each["candidate_id"]] == (pair[0], each["thread_id"])
        assert rows[each["baseline_id"]] == (pair[1], each["thread_id"])


async def test_a_list_of_flips_is_bounded_and_says_how_many_there_are(
    api: httpx.AsyncClient, database: Database
) -> None:
    values = [[("verdict", "POLITE")]] * 130 + [[("verdict", "RUDE")]] * 5
    turned = [[("verdict", "RUDE")]] * 130 + [[("verdict", "POLITE")]] * 5
    baseline, candidate = await add_run(database, values), await add_run(database, turned)

    found = await comparison(api, candidate, baseline)

    assert found["flip_totals"] == {"worse": 130, "better": 5, "other": 0}
    directions = [each["direction"] for each in found["flips"]]
    assert directions == ["worse"] * 100 + ["better"] * 5


def compare_command(dsn: str, *arguments: str) -> tuple[int, str, str]:
    environment = os.environ | {"DATABASE_URL": dsn}
    command = Command.start(
        ("compare", *arguments), stdin="", environment=environment, folder=Path.cwd()
    )
    return command.wait()


async def test_the_command_prints_the_same_json(
    api: httpx.AsyncClient, dsn: str, pair: tuple[UUID, UUID]
) -> None:
    found = await comparison(api, *pair)

    exit_code, out, err = compare_command(dsn, str(pair[0]), str(pair[1]), "--json")

    assert exit_code == 0, err
    assert json.loads(out) == found


async def test_the_command_fails_where_runs_share_no_conversation(
    database: Database, dsn: str, pair: tuple[UUID, UUID]
) -> None:
    nothing = await add_run(database, [])

    exit_code, out, err = compare_command(dsn, str(pair[0]), str(nothing))

    assert (exit_code, err) == (7, "")
    assert out == "Nothing to compare: No evaluated conversation is in both runs.\n"


async def test_what_is_not_comparable_has_a_reason(
    api: httpx.AsyncClient, database: Database, pair: tuple[UUID, UUID]
) -> None:
    candidate, _ = pair
    others = await add_run(database, [[("verdict", "RUDE")]] * 2, model="n")
    newer = await add_run(database, [[("verdict", "RUDE")]] * 2, version="2")
    nothing = await add_run(database, [])

    found = await comparison(api, candidate, others)
    assert {each["change"] for each in found["scores"]} == {"not_compared"}
    assert score(found, "verdict")["reason"] == "The judges differ: p/n and p/m"
    assert (found["flips"], found["flip_totals"]["worse"]) == ([], 0)
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE eval_runs SET config = jsonb_set(config, '{evaluators,0,calls_llm}', 'false')"
            " WHERE id = %s",
            [candidate],
        )
    found = await comparison(api, candidate, others)
    assert score(found, "verdict")["change"] != "not_compared", "no judge was asked"
    found = await comparison(api, candidate, newer)
    assert score(found, "verdict")["reason"] == "The versions of the evaluator differ"
    assert score(found, "seconds")["reason"] == "The versions of the evaluator differ"

    reply = await api.get(f"/api/eval-runs/{candidate}/comparison/{nothing}")
    assert reply.status_code == 422
    (problem,) = reply.json()["detail"]
    assert problem["msg"] == "No evaluated conversation is in both runs"
    assert problem["loc"] == ["path", "baseline_id"]
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE eval_runs SET command = 'evaluate-adversarial' WHERE id = %s", [nothing]
        )
    reply = await api.get(f"/api/eval-runs/{candidate}/comparison/{nothing}")
    assert "different kinds: evaluate-adversarial and evaluate-test" in reply.text
    reply = await api.get(f"/api/eval-runs/{candidate}/comparison/{uuid4()}")
    assert (reply.status_code, reply.json()) == (404, {"detail": "Run not found: one of the two"})


async def test_anothers_run_is_neither_compared_nor_a_baseline(
    serve_api: ServeApi, database: Database
) -> None:
    own, others = [
        await add_run(database, [[("verdict", "RUDE")]], owner=each) for each in ("sam", "otto")
    ]
    async with serve_api(api_tokens=ENTRIES) as http:
        for pair in ((own, others), (others, own), (others, others)):
            path = f"/api/eval-runs/{pair[0]}/comparison/{pair[1]}"
            for name, status in (("sam", 404), ("ada", 200)):
                reply = await http.get(path, headers=bearer(TOKENS[name]))
                assert reply.status_code == status, reply.text
