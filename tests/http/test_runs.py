"""Results of evaluation jobs over HTTP. The rows are inserted by SQL."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from evalqueue.postgres.database import Database


@pytest.fixture
async def run_id(database: Database) -> UUID:
    """A run with three threads, two adversarial cases and three LLM calls."""
    run_id = uuid4()
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO eval_runs (id, command, app_id, status, duration_seconds, total_items,"
            " summary, llm_provider, llm_model, started_at, completed_at)"
            " VALUES (%s, 'evaluate-batch', 'kaira-bot', 'completed', 1.5, 3,"
            """ '{"errors": 1}', 'openai', 'gpt-x', now(), now())""",
            [run_id],
        )
        await connection.execute(
            "INSERT INTO thread_evaluations (run_id, thread_id, intent_accuracy,"
            " worst_correctness, efficiency_verdict, success_status, error, result, attempt,"
            " duration_ms) VALUES"
            " (%(run)s, 't1', 0.5, 'SOFT FAIL', 'EFFICIENT', true, NULL, '{\"n\": 1}', 1, 10),"
            " (%(run)s, 't2', NULL, NULL, NULL, NULL, 'The judge refused', '{}', 1, 10),"
            " (%(run)s, 't3', 1, 'PASS', NULL, NULL, NULL, '{}', 1, 10)",
            {"run": run_id},
        )
        await connection.execute(
            "INSERT INTO adversarial_evaluations"
            " (run_id, case_id, trial, label, category, difficulty, persona, verdict,"
            " goal_achieved, total_turns, stop_reason, error, result, attempt) VALUES"
            " (%(run)s, 'c1', 1, '', 'typos', 'hard', 'hard', 'HARD FAIL', false, 4, 'max_turns',"
            " NULL, '{}', 1),"
            " (%(run)s, 'c2', 1, '', 'emoji', 'easy', 'easy', NULL, NULL, 0, 'error', 'gone',"
            " '{}', 1)",
            {"run": run_id},
        )
        await connection.execute(
            "INSERT INTO api_logs (run_id, thread_id, evaluator, turn, provider, model, method,"
            " outcome, try_number, prompt, response, duration_ms, tokens_in, attempt, started_at,"
            " error) SELECT %s, 't1', 'intent', number, 'openai', 'gpt-x', 'responses.create',"
            " CASE number WHEN 1 THEN 'timeout' ELSE 'ok' END, 1, 'the prompt', 'the answer',"
            " 12.5, CASE number WHEN 1 THEN NULL ELSE 100 END, 1, now(),"
            " CASE number WHEN 1 THEN 'too slow' END FROM generate_series(1, 3) AS number",
            [run_id],
        )
    return run_id


async def get(api: httpx.AsyncClient, path: str, **query: Any) -> Any:
    reply = await api.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_run_has_the_ten_keys_clients_know_and_more_after_them(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    run = await get(api, f"/api/eval-runs/{run_id}")

    assert list(run)[:10] == [
        "id", "command", "status", "llm_provider", "llm_model", "duration_seconds", "total_items",
        "summary", "error_message", "created_at",
    ]  # fmt: skip
    assert set(run) > {"job_id", "app_id", "name", "config", "owner", "started_at", "completed_at"}
    assert (run["id"], run["status"], run["duration_seconds"]) == (str(run_id), "completed", 1.5)
    assert run["summary"] == {"errors": 1}
    assert (run["error_message"], run["eval_temperature"], run["job_id"]) == (None, None, None)


async def test_runs_are_listed_newest_first_by_command(
    api: httpx.AsyncClient, run_id: UUID, database: Database
) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO eval_runs (id, command)"
            " SELECT gen_random_uuid(), 'evaluate-adversarial' FROM generate_series(1, 60)"
        )

    listed = await get(api, "/api/eval-runs")
    assert len(listed) == 50
    assert [run["created_at"] for run in listed] == sorted(
        (run["created_at"] for run in listed), reverse=True
    )
    assert len(await get(api, "/api/eval-runs", limit=200)) == 61
    assert [r["id"] for r in await get(api, "/api/eval-runs", offset=60)] == [str(run_id)]
    assert [r["id"] for r in await get(api, "/api/eval-runs", command="evaluate-batch")] == [
        str(run_id)
    ]
    assert await get(api, "/api/eval-runs", command="\x00") == []


async def test_runs_of_an_app_are_listed_alone(api: httpx.AsyncClient, database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO eval_runs (id, command, app_id) SELECT gen_random_uuid(),"
            " 'evaluate-batch', (ARRAY['shop', 'bank', NULL])[number % 3 + 1]"
            " FROM generate_series(0, 8) AS number"
        )

    for app_id, count in (("shop", 3), ("bank", 3), ("sho", 0)):
        found = await get(api, "/api/eval-runs", app_id=app_id)
        assert [run["app_id"] for run in found] == [app_id] * count
    assert (await api.get("/api/eval-runs", params={"app_id": "x" * 101})).status_code == 422


async def test_threads_come_oldest_first_and_null_stays_null(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    page = await get(api, f"/api/eval-runs/{run_id}/threads")

    assert (page["run_id"], page["total"]) == (str(run_id), 3)
    first, second, third = page["evaluations"]
    assert list(first)[:8] == [
        "id", "run_id", "thread_id", "intent_accuracy", "worst_correctness", "efficiency_verdict",
        "success_status", "result",
    ]  # fmt: skip
    assert (first["thread_id"], first["worst_correctness"], first["result"]) == (
        "t1", "SOFT FAIL", {"n": 1},
    )  # fmt: skip
    assert (second["failed"], second["error"]) == (True, "The judge refused")
    assert second["intent_accuracy"] is second["worst_correctness"] is None
    assert (third["failed"], third["efficiency_verdict"]) == (False, None)


async def test_threads_and_adversarial_cases_are_paged_by_the_last_id_seen(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    for what, total in (("threads", 3), ("adversarial", 2)):
        path = f"/api/eval-runs/{run_id}/{what}"
        everything = (await get(api, path))["evaluations"]
        seen: list[Any] = []
        while True:
            page = await get(api, path, limit=1, after=seen[-1]["id"] if seen else 0)
            assert page["total"] == total
            if not page["evaluations"]:
                break
            seen += page["evaluations"]
        assert seen == everything
        assert len(seen) == total


async def test_adversarial_cases_have_the_keys_clients_know_and_more_after_them(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    first, second = (await get(api, f"/api/eval-runs/{run_id}/adversarial"))["evaluations"]

    assert list(first)[:8] == [
        "id", "run_id", "category", "difficulty", "verdict", "goal_achieved", "total_turns",
        "result",
    ]  # fmt: skip
    assert set(first) > {"case_id", "trial", "persona", "stop_reason", "error", "created_at"}
    assert (first["verdict"], first["goal_achieved"]) == ("HARD FAIL", False)
    assert (second["verdict"], second["goal_achieved"]) == (None, None)
    assert (second["stop_reason"], second["error"]) == ("error", "gone")


async def test_logs_come_newest_first_without_prompts_and_answers(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    page = await get(api, f"/api/eval-runs/{run_id}/logs")

    assert list(page) == ["run_id", "logs"]
    assert [log["turn"] for log in page["logs"]] == [3, 2, 1]
    newest, *_, oldest = page["logs"]
    assert list(newest)[:8] == [
        "id", "run_id", "provider", "model", "method", "duration_ms", "tokens_in", "tokens_out",
    ]  # fmt: skip
    assert (newest["tokens_in"], newest["tokens_out"], newest["outcome"]) == (100, None, "ok")
    assert (oldest["tokens_in"], oldest["error"]) == (None, "too slow")
    assert not {"prompt", "response", "system_prompt"} & set(newest)
    (second,) = (await get(api, f"/api/eval-runs/{run_id}/logs", limit=1, offset=1))["logs"]
    assert second["turn"] == 2


async def test_stats_count_different_conversations(
    api: httpx.AsyncClient, run_id: UUID, database: Database
) -> None:
    async with database.connection() as connection:
        again = uuid4()
        await connection.execute(
            "INSERT INTO eval_runs (id, command) VALUES (%s, 'evaluate-batch')", [again]
        )
        await connection.execute(
            "INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)"
            " VALUES (%s, 't1', '{}', 1, 1)",
            [again],
        )

    assert await get(api, "/api/eval-runs/stats/summary") == {
        "total_runs": 2,
        "total_threads_evaluated": 3,
        "total_adversarial_tests": 2,
    }


async def test_stats_of_nothing_are_zero(api: httpx.AsyncClient) -> None:
    assert set((await get(api, "/api/eval-runs/stats/summary")).values()) == {0}


async def test_an_unknown_run_is_not_found_and_has_nothing_under_it(
    api: httpx.AsyncClient,
) -> None:
    unknown = uuid4()

    reply = await api.get(f"/api/eval-runs/{unknown}")

    assert (reply.status_code, reply.json()) == (404, {"detail": "Run not found"})
    nothing: dict[str, Any] = {"run_id": str(unknown), "evaluations": [], "total": 0}
    assert await get(api, f"/api/eval-runs/{unknown}/threads") == nothing
    assert await get(api, f"/api/eval-runs/{unknown}/adversarial") == nothing
    assert await get(api, f"/api/eval-runs/{unknown}/logs") == {"run_id": str(unknown), "logs": []}


async def test_what_is_wrong_with_a_request_is_named(api: httpx.AsyncClient) -> None:
    for path, loc in (
        ("?limit=201", ["query", "limit"]),
        ("?offset=x", ["query", "offset"]),
        ("/17", ["path", "run_id"]),
        ("/17/threads", ["path", "run_id"]),
        ("/{id}/threads?after=-1", ["query", "after"]),
        ("/{id}/threads?limit=1001", ["query", "limit"]),
        ("/{id}/adversarial?after=9223372036854775808", ["query", "after"]),
        ("/{id}/adversarial?limit=201", ["query", "limit"]),
        ("/{id}/logs?limit=0", ["query", "limit"]),
    ):
        reply = await api.get("/api/eval-runs" + path.format(id=uuid4()))

        assert reply.status_code == 422, path
        assert [problem["loc"] for problem in reply.json()["detail"]] == [loc]


async def test_what_is_in_the_path_cannot_be_changed_by_the_query(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    reply = await api.get(f"/api/eval-runs/{run_id}", params={"run_id": str(uuid4())})

    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["query", "run_id"]
