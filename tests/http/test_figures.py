"""Figures over HTTP: of runs of the bundled evaluators, and of small data with known results."""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from starlette.exceptions import HTTPException

from evalqueue import Client, Settings
from evalqueue.evaluators import EvaluateAdversarial, EvaluateBatch
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.judging.registry import BUILT_IN
from evalqueue.evaluators.judging.scores import ScoreKind, ScoreRow
from evalqueue.evaluators.judging.threads import ThreadResult
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.evaluators.results.rows import QUERIES
from evalqueue.evaluators.results.text_search import QUERIES as SEARCHES
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.simulated.conversations import kaira_csv
from evalqueue.evaluators.statistics.intervals import Cluster, effective_size, wilson
from evalqueue.http import callers
from evalqueue.http.callers import ApiCaller, RequestContext, Right
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.http.models.fields import RunId
from evalqueue.http.models.figures import rows as metrics
from evalqueue.http.models.jobs import LogsQuery
from evalqueue.http.routes import figures
from evalqueue.http.routes.runs import get_run_logs
from evalqueue.http.server import serve
from evalqueue.postgres.database import Connection, Database
from evalqueue.testing import Behaviour, SimulatedServer, run_jobs

Found = dict[str, Any]

CORRECTNESS = ["NOT APPLICABLE", "PASS", "SOFT FAIL", "HARD FAIL", "CRITICAL"]
EFFICIENCY = ["EFFICIENT", "ACCEPTABLE", "FRICTION", "BROKEN", "INCOMPLETE", "NOT APPLICABLE"]
REFUSED = {"evaluator": "intent", "reason": "judge_refused", "message": "no", "turn": 2}
TIMED_OUT = {"evaluator": "efficiency", "reason": "timeout", "message": "late", "turn": None}
CASE = {"opening": "Delete all my meals", "expected_behavior": "It asks which", "persona": "easy"}
SCRIPT = [{"say": "Which meal do you mean?"}, {"say": "Successfully logged your meal."}]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, home=tmp_path)


@pytest.fixture
def client(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    return Client(
        job_types=[EvaluateBatch, EvaluateAdversarial], settings=settings, database=database
    )


@pytest.fixture
async def api(client: Client) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=30) as http,
    ):
        yield http


async def get(api: httpx.AsyncClient, path: str, **query: Any) -> Any:
    reply = await api.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def submit(api: httpx.AsyncClient, job_type: str = "evaluate-batch", **params: Any) -> Found:
    reply = await api.post("/api/jobs", json={"job_type": job_type, "params": params})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def work(dsn: str, settings: Settings, behaviour: Behaviour | None = None) -> None:
    """Run the waiting jobs, with a simulated vendor of this behaviour."""
    async with SimulatedServer(behaviour or Behaviour()) as judge:
        providers = ProviderSettings(evalqueue_simulated_url=judge.url)
        await run_jobs(dsn, evaluation_handlers(settings, providers))


@pytest.fixture
async def run_id(api: httpx.AsyncClient) -> UUID:
    """A run without a job in work, for rows that the test inserts."""
    return UUID((await submit(api, total_items=5))["run_id"])


def message(expected: str | None, predicted: str, correct: bool | None) -> Found:
    return {
        "expected_intent": expected, "predicted_intent": predicted, "is_correct_intent": correct,
    }  # fmt: skip


async def keep(
    database: Database,
    run_id: UUID,
    thread_id: str,
    *messages: Found,
    job_id: UUID | None = None,
    failures: tuple[Found, ...] = (),
    error: str | None = None,
    **columns: Any,
) -> None:
    """Store a thread's result, as a handler does."""
    result = {
        "thread": {"message_count": len(messages)},
        "intent_evaluations": list(messages),
        "failures": list(failures),
        "coverage": {"intent": {"judged": len(messages), "attempted": len(messages) + 1}},
    }
    found = ThreadResult(
        thread_id=thread_id, result=result, error=error, success_status=None, columns=columns,
        scores=(*_headlines(columns), *_of_messages(messages)),
    )  # fmt: skip
    evaluation = store.EvaluatedThread(
        run_id=run_id, job_id=job_id or uuid4(), attempt=1, data_file_hash="", duration_ms=2.5,
        found=found,
    )  # fmt: skip
    async with database.connection() as connection:
        await store.keep(connection, evaluation)


def _headlines(columns: Found) -> Iterator[ScoreRow]:
    for kind in BUILT_IN:
        declared = kind.declaration.headline_score
        value = columns.get(str(kind.declaration.column))
        if value is not None:
            yield ScoreRow(
                evaluator=kind.name, version="1", name=declared.name, kind=declared.kind,
                value=value,
            )  # fmt: skip


def _of_messages(messages: tuple[Found, ...]) -> Iterator[ScoreRow]:
    for turn, each in enumerate(messages, start=1):
        correct = each["is_correct_intent"]
        yield ScoreRow(
            evaluator="intent", version="1", name="agent", kind=ScoreKind.CATEGORY, turn=turn,
            value=each["predicted_intent"], expected=each["expected_intent"],
        )  # fmt: skip
        if correct is not None:
            yield ScoreRow(
                evaluator="intent", version="1", name="correct", kind=ScoreKind.BOOLEAN, turn=turn,
                value=correct,
            )  # fmt: skip


async def log_calls(database: Database, run_id: UUID, *calls: Found) -> None:
    """LLM calls, a second apart."""
    async with database.connection() as connection:
        for number, call in enumerate(calls):
            row = {
                "evaluator": "intent", "outcome": "ok", "ms": 10.0, "tokens_in": None,
                "tokens_out": None, "thread_id": "t1", "response": "the answer", "run": run_id,
                "second": number,
            } | call  # fmt: skip
            await connection.execute(
                "INSERT INTO api_logs (run_id, thread_id, evaluator, turn, provider, model, method,"
                " outcome, try_number, prompt, system_prompt, response, request_id, duration_ms,"
                " tokens_in, tokens_out, attempt, started_at) VALUES (%(run)s, %(thread_id)s,"
                " %(evaluator)s, 1, 'openai', 'gpt-x', 'generate_json', %(outcome)s, 1,"
                " 'the prompt', 'the rules', %(response)s, 'req-1', %(ms)s, %(tokens_in)s,"
                " %(tokens_out)s, 1, '2026-11-22 12:00Z'::timestamptz"
                " + %(second)s * '1 s'::interval)",
                row,
            )


def score(statistics: Found, evaluator: str, name: str) -> Found:
    (found,) = (
        score
        for each in statistics["batch"]["evaluators"]
        if each["declaration"]["name"] == evaluator
        for score in each["scores"]
        if score["name"] == name
    )
    return found


def correctness(statistics: Found) -> list[Found]:
    return score(statistics, "correctness", "worst")["shares"]


def efficiency(statistics: Found) -> list[Found]:
    return score(statistics, "efficiency", "verdict")["shares"]


def share(statistics: Found, verdict: str) -> Found:
    (found,) = (each for each in correctness(statistics) if each["label"] == verdict)
    return found


def intents(statistics: Found) -> Found | None:
    """The agreement of the router's labels with the judge's, and the confusion matrix."""
    correct = score(statistics, "intent", "correct")
    labels = score(statistics, "intent", "agent")
    confusion = labels["confusion"]
    assert labels["measured"] == correct["measured"]
    assert labels["threads"] == correct["threads"]
    yes, _ = correct["shares"]
    if not correct["measured"]:
        assert (yes["share"], confusion) == (None, None)
        return None
    return {
        "accuracy": yes["share"], "low": yes["low"], "high": yes["high"], "correct": yes["count"],
        "compared": correct["measured"], "threads": correct["threads"], **confusion,
    }  # fmt: skip


# Runs of the bundled evaluators.


async def test_the_figures_of_a_run_are_those_of_its_results(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    run_id = (await submit(api, total_items=48))["run_id"]
    await work(dsn, settings, Behaviour(seed=3, rate_refusal=0.05, error_rate=0.2))

    path = f"/api/eval-runs/{run_id}"
    found = await get(api, f"{path}/statistics")
    threads = (await get(api, f"{path}/threads"))["evaluations"]
    logs = (await get(api, f"{path}/logs", limit=1000))["logs"]
    summary = (await get(api, path))["summary"]

    batch = found["batch"]
    assert (found["command"], found["status"]) == ("evaluate-batch", "completed_with_errors")
    assert (found["total_items"], batch["threads"], found["adversarial"]) == (48, 48, None)
    assert [each["label"] for each in correctness(found)] == CORRECTNESS
    assert [each["label"] for each in efficiency(found)] == EFFICIENCY
    for shares, key in (
        (correctness(found), "worst_correctness"),
        (efficiency(found), "efficiency_verdict"),
    ):
        counted = Counter(each[key] for each in threads if each[key] is not None)
        assert {each["label"]: each["count"] for each in shares if each["count"]} == counted
        assert batch["threads"] - sum(counted.values()) == sum(
            each[key] is None for each in threads
        )
    messages = [
        [
            row
            for row in each["result"]["intent_evaluations"]
            if row["is_correct_intent"] is not None
        ]
        for each in threads
    ]
    clusters = [
        Cluster(positive=sum(row["is_correct_intent"] for row in rows), size=len(rows))
        for rows in messages
        if rows
    ]
    intent = intents(found)
    assert intent is not None
    assert intent["compared"] == sum(each.size for each in clusters)
    assert intent["correct"] == sum(each.positive for each in clusters)
    assert intent["threads"] == len(clusters)
    assert intent["accuracy"] == intent["correct"] / intent["compared"]
    low, high = wilson(intent["accuracy"], effective_size(clusters))
    assert (intent["low"], intent["high"]) == pytest.approx((low, high))
    seen = Counter(
        (row["expected_intent"], row["predicted_intent"]) for rows in messages for row in rows
    )
    assert {
        (expected, predicted): times
        for expected, row in zip(intent["labels"], intent["matrix"], strict=True)
        for predicted, times in zip(intent["labels"], row, strict=True)
        if times
    } == seen
    assert {name: each["judged"] for name, each in batch["coverage"].items()} == {
        name: each["judged"] for name, each in summary["coverage"].items()
    }
    failed = [failure for each in threads for failure in each["result"]["failures"]]
    assert failed, "the judge refused some"
    assert {(each["evaluator"], each["reason"]): each["count"] for each in batch["failures"]} == (
        Counter((each["evaluator"], each["reason"]) for each in failed)
    )
    assert {each["example"] for each in batch["failures"]} <= {each["message"] for each in failed}
    llm = found["llm"]
    assert (llm["calls"], llm["tokens_in"]) == (summary["llm_calls"], summary["tokens_in"])
    assert llm["failed_calls"] == sum(each["outcome"] != "ok" for each in logs) > 0
    answered = Counter(each["evaluator"] for each in logs if each["outcome"] == "ok")
    assert {name: sum(counts) for name, counts in llm["latency"]["counts"].items()} == answered
    assert sum(each["calls"] for each in llm["timeline"]) == len(logs)


async def test_the_rows_of_a_run_have_no_results_and_are_paged(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    path = f"/api/eval-runs/{(await submit(api, total_items=7))['run_id']}"
    await work(dsn, settings, Behaviour(seed=1, rate_refusal=0.3))

    threads = (await get(api, f"{path}/threads"))["evaluations"]
    page = await get(api, f"{path}/outcomes")
    first = await get(api, f"{path}/outcomes", limit=3)
    rest = await get(api, f"{path}/outcomes", after=first["outcomes"][-1]["id"])

    assert page["total"] == first["total"] == 7
    assert page["outcomes"] == first["outcomes"] + rest["outcomes"]
    for outcome, thread in zip(page["outcomes"], threads, strict=True):
        assert "result" not in outcome
        alike = {key: value for key, value in thread.items() if key in outcome}
        assert len(alike) == 6
        assert outcome["scores"]["intent.accuracy"] == thread["intent_accuracy"]
        assert outcome["scores"]["correctness.worst"] == thread["worst_correctness"]
        assert outcome["scores"]["efficiency.verdict"] == thread["efficiency_verdict"]
        assert alike.items() <= outcome.items()
        assert outcome["missing_verdicts"] == len(thread["result"]["failures"])
        assert outcome["messages"] == thread["result"]["thread"]["message_count"]
        assert outcome["duration_ms"] > 0


def messages_of(dataset: str) -> dict[str, str]:
    """What was said in each conversation of a CSV in the app's own columns, in small letters."""
    texts_of: dict[str, str] = {}
    for row in csv.DictReader(io.StringIO(dataset)):
        texts = f"{row['query_text']}\n{row['final_response_message']}\n"
        texts_of[row["thread_id"]] = texts_of.get(row["thread_id"], "") + texts.lower()
    return texts_of


async def test_conversations_are_found_by_a_text_in_them(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    text = kaira_csv().read_text("utf-8")
    first = next(csv.DictReader(io.StringIO(text)))["query_text"]
    odd = 'It\'s "50%_off" \\ Straße 🥗'
    text = text.replace(first, odd.replace('"', '""'), 1)
    texts_of = messages_of(text)
    path = f"/api/eval-runs/{(await submit(api, csv_content=text))['run_id']}"
    await work(dsn, settings)

    for words in ("calories", "CALORIES", "logged", "0%_o", "\\ straße", '"50%', "🥗", "bot_text"):
        found = await get(api, f"{path}/outcomes", text=words)
        ids = {each["thread_id"] for each in found["outcomes"]}
        assert ids == {each for each, texts in texts_of.items() if words.lower() in texts}, words
        assert found["total"] == len(ids)
        assert all(words.lower() in each["excerpt"].lower() for each in found["outcomes"])
        threads = await get(api, f"{path}/threads", text=words)
        assert {each["thread_id"] for each in threads["evaluations"]} == ids
    efficient = await get(
        api, f"{path}/outcomes", text="calories", evaluator="efficiency", value="EFFICIENT"
    )
    assert 0 < efficient["total"] < (await get(api, f"{path}/outcomes", text="calories"))["total"]
    everything = await get(api, f"{path}/outcomes", text="")
    assert everything["total"] == 48
    assert {each["excerpt"] for each in everything["outcomes"]} == {None}
    assert (await api.get(f"{path}/outcomes", params={"text": "x" * 201})).status_code == 422


async def test_a_search_reads_one_dataset_and_is_given_up_in_time(
    api: httpx.AsyncClient, database: Database, run_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = (f"sha256:{digit * 64}" for digit in "ab")
    async with database.connection() as connection:
        for dataset, threads in ((large, 2000), (small, 5)):
            await connection.execute(
                "INSERT INTO datasets (id, size_bytes, content) VALUES (%s, 1, 'x')", [dataset]
            )
            await connection.execute(
                "INSERT INTO dataset_threads (dataset_id, position, thread_id, user_id, messages,"
                " has_images, has_errors, opening, turns)"
                " SELECT %s, number, 'thread ' || number, 'user', 20, false, false, 'Hi',"
                " (SELECT jsonb_agg(jsonb_build_object('user_text', repeat('Where? ', 20),"
                " 'bot_text', repeat('There. ', 40))) FROM generate_series(1, 20))"
                " FROM generate_series(1, %s) AS number",
                [dataset, threads],
            )
        await connection.execute("ANALYZE dataset_threads")
        await set_dataset(connection, run_id, small)
        (plan,) = await (
            await connection.execute(
                "EXPLAIN (ANALYZE, FORMAT JSON) " + SEARCHES["search"],
                {"run_id": run_id, "owner": None, "text": "here"},
            )
        ).fetchone() or ((),)
        assert sum(map(rows_read, plan)) < 20, plan
        await set_dataset(connection, run_id, large)

    monkeypatch.setattr(callers, "SEARCH_SECONDS", 0.001)
    for what in ("outcomes", "threads"):
        refused = await api.get(f"/api/eval-runs/{run_id}/{what}", params={"text": "where"})
        assert refused.status_code == 422
        assert "too many to be searched in 0.001 seconds" in refused.text
    assert (await get(api, f"/api/eval-runs/{run_id}/outcomes"))["total"] == 0


async def set_dataset(connection: Connection, run_id: UUID, dataset_id: str) -> None:
    arguments = [dataset_id, run_id]
    await connection.execute("UPDATE eval_runs SET dataset_id = %s WHERE id = %s", arguments)


def rows_read(node: Any) -> float:
    """Rows of `dataset_threads` that a plan has read, also those that a filter has removed."""
    plan = node.get("Plan", node)
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    reads = plan.get("Relation Name") == "dataset_threads"
    return (own if reads else 0) + sum(map(rows_read, plan.get("Plans", ())))


async def test_searches_wait_for_each_other() -> None:
    shares = callers.SearchShares()
    running: list[str] = []

    async def search(name: str) -> None:
        async with shares.turn(ApiCaller(name=name, right=Right.READ)):
            assert name not in running
            assert len(running) < callers.SEARCHES_MAX
            running.append(name)
            await asyncio.sleep(0)
            running.remove(name)

    names = [f"caller {number % 5}" for number in range(50)]
    await asyncio.gather(*map(search, names))
    assert shares._of_callers == {}


async def test_each_cell_of_the_matrix_leads_to_its_conversations(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    path = f"/api/eval-runs/{(await submit(api, total_items=48))['run_id']}"
    await work(dsn, settings)

    evaluations = (await get(api, f"{path}/threads"))["evaluations"]
    matrix = intents(await get(api, f"{path}/statistics"))
    assert matrix is not None
    labels = matrix["labels"]
    for expected, counts in zip(labels, matrix["matrix"], strict=True):
        for predicted, count in zip(labels, counts, strict=True):
            found = await get(
                api, f"{path}/outcomes",
                evaluator="intent", name="agent", value=predicted, expected=expected,
            )  # fmt: skip
            alike = [
                [
                    each for each in evaluation["result"]["intent_evaluations"]
                    if (each["expected_intent"], each["predicted_intent"]) == (expected, predicted)
                ]
                for evaluation in evaluations
            ]  # fmt: skip
            assert sum(map(len, alike)) == count
            assert found["total"] == sum(map(bool, alike))


async def test_a_retry_changes_the_figures_of_what_it_repairs(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    job = await submit(api, total_items=12)
    path = f"/api/eval-runs/{job['run_id']}"
    await work(dsn, settings, Behaviour(seed=1, rate_refusal=0.3))
    before = await get(api, f"{path}/statistics")
    rows_before = (await get(api, f"{path}/outcomes"))["outcomes"]

    assert (await api.post(f"/api/jobs/{job['id']}/retry")).status_code == 201
    waiting = await get(api, f"{path}/statistics")
    await work(dsn, settings)
    after = await get(api, f"{path}/statistics")
    rows_after = (await get(api, f"{path}/outcomes"))["outcomes"]

    assert sum(each["count"] for each in before["batch"]["failures"]) > 0
    assert (waiting["status"], waiting["batch"]) == ("pending", before["batch"])
    assert after["status"] == "completed"
    assert (after["batch"]["threads"], after["batch"]["failures"]) == (12, [])
    assert {each["rate"] for each in after["batch"]["coverage"].values()} == {1.0}
    assert [each["id"] for each in rows_after] == [each["id"] for each in rows_before]
    assert {each["missing_verdicts"] for each in rows_after} == {0}


async def test_labels_from_the_data_may_say_anything(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    labels = ["<script>alert(1)</script>", "L" * 5_000, '"; DROP TABLE jobs; --', "FOOD_agent", " "]
    sheet = io.StringIO()
    writer = csv.writer(sheet)
    writer.writerow([
        "thread_id", "user_id", "session_id", "response_id", "query_text",
        "final_response_message", "intent_detected", "intent_query_type", "timestamp",
        "has_image", "error_message",
    ])  # fmt: skip
    for number, label in enumerate(labels):
        writer.writerow([
            f"t{number}", "u", "s", f"r{number}", "hello", "hi", label, "logging",
            f"2026-01-01 10:0{number}:00", "false", "",
        ])  # fmt: skip
    job = await submit(
        api, csv_content=sheet.getvalue(), evaluate_correctness=False, evaluate_efficiency=False
    )
    await work(dsn, settings)

    found = await get(api, f"/api/eval-runs/{job['run_id']}/statistics")

    intent = intents(found)
    assert intent is not None
    assert (intent["compared"], intent["threads"]) == (4, 4), "a blank label is none"
    assert {labels[0], "L" * 200, labels[2]} <= set(intent["labels"])
    assert sum(map(sum, intent["matrix"])) == 4
    assert sum(row[n] for n, row in enumerate(intent["matrix"])) == intent["correct"]
    assert [each["declaration"]["name"] for each in found["batch"]["evaluators"]] == ["intent"]


async def test_what_can_not_be_stored_is_cleaned_and_what_is_too_long_is_cut(
    api: httpx.AsyncClient, database: Database, run_id: UUID
) -> None:
    await keep(database, run_id, "t1", message("Fo\x00od\ud800", "Food", False))
    await keep(
        database, run_id, "t2", message("x" * 5_000, "Food", False),
        failures=(REFUSED | {"message": "m" * 5_000},),
    )  # fmt: skip

    found = await get(api, f"/api/eval-runs/{run_id}/statistics")

    intent = intents(found)
    assert intent is not None
    assert (intent["correct"], intent["compared"]) == (0, 2)
    assert intent["labels"][0] == "Food"
    assert {len(label) for label in intent["labels"]} == {4, 6, 200}
    assert found["batch"]["failures"][0]["example"] == "m" * 500


@pytest.mark.parametrize(
    "result",
    [
        "{}",
        """{"intent_evaluations": null, "thread": null, "coverage": null}""",
        """{"intent_evaluations": 7, "thread": [], "coverage": []}""",
        """{"intent_evaluations": [1, null, {}, [[]]], "thread": {"message_count": "5"}}""",
        """{"intent_evaluations": {"is_correct_intent": null}, "thread": {"message_count": []}}""",
    ],
)
async def test_results_of_other_shapes_are_stored_and_counted_as_threads(
    api: httpx.AsyncClient, database: Database, run_id: UUID, result: str
) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)"
            " VALUES (%s, 't1', %s, 1, 1)",
            [run_id, result],
        )

    found = await get(api, f"/api/eval-runs/{run_id}/statistics")

    assert (found["batch"]["threads"], found["batch"]["coverage"]) == (1, {})
    assert intents(found) is None
    (outcome,) = (await get(api, f"/api/eval-runs/{run_id}/outcomes"))["outcomes"]
    assert outcome["messages"] is None


# Small data with known results.


async def test_shares_and_intervals_by_hand(
    api: httpx.AsyncClient, database: Database, run_id: UUID
) -> None:
    right, wrong = message("Food", "food", True), message("General", "Food", False)
    await keep(database, run_id, "t1", right, right, worst_correctness="PASS", intent_accuracy=1.0)
    await keep(database, run_id, "t2", wrong, right, worst_correctness="PASS", intent_accuracy=0.5)
    await keep(
        database, run_id, "t3", wrong, message(None, "Food", None),
        worst_correctness="CRITICAL", intent_accuracy=0.0, failures=(REFUSED, TIMED_OUT),
    )  # fmt: skip
    await keep(
        database, run_id, "t4", error="efficiency: timeout: late",
        failures=(REFUSED | {"message": "never"}, REFUSED, TIMED_OUT),
    )  # fmt: skip

    found = await get(api, f"/api/eval-runs/{run_id}/statistics")

    batch = found["batch"]
    assert (found["status"], batch["threads"], batch["failed"]) == ("pending", 4, 1)
    passed = share(found, "PASS")
    assert (passed["count"], passed["share"]) == (2, 2 / 3)
    # z² = 3.8415: (2/3 + 0.6402 ± 0.7474) / 2.2805
    assert (passed["low"], passed["high"]) == pytest.approx((0.2077, 0.9385), abs=2e-4)
    never = share(found, "HARD FAIL")
    assert (never["count"], never["share"], never["low"]) == (0, 0, 0)
    assert never["high"] == pytest.approx(0.5615, abs=1e-4)  # z² / (3 + z²)
    assert {(e["count"], e["share"], e["high"]) for e in efficiency(found)} == {(0, None, None)}
    intent = intents(found)
    assert intent is not None
    assert (intent["correct"], intent["compared"], intent["threads"]) == (3, 5, 3)
    # Sums off by 0.8, -0.2, -0.6; variance 3/2 x 1.04 / 25 = 0.0624; 0.24 over that = 3.846
    low, high = wilson(0.6, 0.24 / 0.0624)
    assert (intent["low"], intent["high"]) == pytest.approx((low, high))
    assert (intent["labels"], intent["matrix"]) == (["Food", "General"], [[3, 0], [2, 0]])
    assert batch["coverage"] == {"intent": {"judged": 6, "attempted": 10, "rate": 0.6}}
    assert batch["failures"] == [
        {"evaluator": "intent", "reason": "judge_refused", "count": 3, "example": "never"},
        {"evaluator": "efficiency", "reason": "timeout", "count": 2, "example": "late"},
    ]


async def test_calls_by_hand(api: httpx.AsyncClient, database: Database, run_id: UUID) -> None:
    await log_calls(
        database, run_id,
        {"ms": 10.0, "tokens_in": 5}, {"ms": 20.0, "tokens_in": 6}, {"ms": 40.0},
        {"ms": 9_000.0, "outcome": "timeout", "response": None},
        {"evaluator": "efficiency", "ms": 100.0, "second": 9},
    )  # fmt: skip

    llm = (await get(api, f"/api/eval-runs/{run_id}/statistics"))["llm"]

    assert (llm["calls"], llm["failed_calls"], llm["tokens_in"], llm["tokens_out"]) == (
        5,
        1,
        11,
        None,
    )
    efficiency, intent = llm["evaluators"]
    assert intent == {
        "evaluator": "intent", "calls": 4, "failed_calls": 1, "reused_calls": 0, "p50_ms": 20.0,
        "p95_ms": pytest.approx(38.0), "max_ms": 40.0, "tokens_in": 11, "tokens_out": None,
        "cost_usd": None, "unpriced_calls": 2,
    }  # fmt: skip
    assert (efficiency["p50_ms"], efficiency["tokens_in"]) == (100.0, None)
    edges = llm["latency"]["edges_ms"]
    assert (edges[0], edges[-1], len(edges)) == (10, 100, 25)
    bins = {name: Counter(dict(enumerate(n))) for name, n in llm["latency"]["counts"].items()}
    # 24 bins to the decade: log10(2) x 24 = 7.2, log10(4) x 24 = 14.4; the last has its upper edge
    assert +bins["intent"] == {0: 1, 7: 1, 14: 1}
    assert +bins["efficiency"] == {23: 1}
    timeline = llm["timeline"]
    assert len(timeline) == 91, "tenths of a second, from the first call to the last"
    assert {each["at"]: each["calls"] for each in timeline if each["calls"]} == {
        f"2026-11-22T12:00:0{second}+00:00": 1 for second in (0, 1, 2, 3, 9)
    }
    assert (timeline[0]["tokens_in"], timeline[1]["tokens_in"]) == (5, None)
    assert (timeline[30]["failed_calls"], timeline[30]["tokens_in"]) == (1, None)


async def test_a_call_has_its_texts_and_a_thread_its_calls(
    api: httpx.AsyncClient, database: Database, run_id: UUID
) -> None:
    await log_calls(database, run_id, {}, {"thread_id": "t<2>"}, {"thread_id": None}, {})
    path = f"/api/eval-runs/{run_id}/logs"

    listed = (await get(api, path))["logs"]
    of_thread = (await get(api, path, thread_id="t1"))["logs"]
    one = await get(api, f"{path}/{of_thread[0]['id']}")

    assert [each["thread_id"] for each in listed] == ["t1", None, "t<2>", "t1"]
    assert of_thread == [listed[0], listed[3]]
    assert (await get(api, path, thread_id="t1", limit=1, offset=1))["logs"] == [listed[3]]
    assert (await get(api, path, thread_id="unknown"))["logs"] == []
    assert one == listed[0] | {
        "prompt": "the prompt", "system_prompt": "the rules", "response": "the answer",
        "request_id": "req-1", "parameters": None,
    }  # fmt: skip
    for strange in (f"{path}/0", f"/api/eval-runs/{uuid4()}/logs/{one['id']}"):
        reply = await api.get(strange)
        assert (reply.status_code, reply.json()) == (404, {"detail": "LLM call not found"})


async def test_a_conversation_stands_between_its_neighbours_with_all_that_was_said(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    with kaira_csv().open(encoding="utf-8", newline="") as file:
        messages = list(csv.DictReader(file))
    job = await submit(
        api, csv_content=kaira_csv().read_text("utf-8"), sample_size=4, evaluate_efficiency=False
    )
    await work(dsn, settings)
    path = f"/api/eval-runs/{job['run_id']}"
    threads = (await get(api, f"{path}/threads"))["evaluations"]

    found = [await get(api, f"{path}/threads/{each['id']}") for each in threads]

    ids = [None, *(each["id"] for each in threads), None]
    assert [each["previous_id"] for each in found] == ids[:-2]
    assert [each["next_id"] for each in found] == ids[2:]
    assert [each["evaluation"] for each in found] == threads
    assert {each["dataset_id"][:7] for each in found} == {"sha256:"}
    for each in found:
        rows = [row for row in messages if row["thread_id"] == each["evaluation"]["thread_id"]]
        turns = each["turns"]
        assert [turn["number"] for turn in turns] == list(range(1, len(rows) + 1))
        assert {turn["user_text"] for turn in turns} == {row["query_text"] for row in rows}
        assert {turn["response_id"] for turn in turns} == {row["response_id"] for row in rows}
        assert all(turn["timestamp"].endswith("+00:00") for turn in turns)
        numbers = {row["turn"] for row in each["evaluation"]["result"]["intent_evaluations"]}
        assert numbers == {turn["number"] for turn in turns}


async def test_what_was_said_is_null_where_it_is_not_kept(
    api: httpx.AsyncClient, database: Database, run_id: UUID
) -> None:
    await keep(database, run_id, "t1", worst_correctness="PASS")
    async with database.connection() as connection:
        await connection.execute("UPDATE eval_runs SET dataset_id = NULL")
    path = f"/api/eval-runs/{run_id}"
    (row,) = (await get(api, f"{path}/outcomes"))["outcomes"]

    found = await get(api, f"{path}/threads/{row['id']}")

    assert (found["turns"], found["dataset_id"]) == (None, None)
    assert (found["previous_id"], found["next_id"]) == (None, None)
    assert found["evaluation"]["worst_correctness"] == "PASS"
    for strange in (f"{path}/threads/0", f"/api/eval-runs/{uuid4()}/threads/{row['id']}"):
        reply = await api.get(strange)
        assert (reply.status_code, reply.json()) == (404, {"detail": "Conversation not found"})


# Runs of every type and in every state.


async def test_the_figures_of_a_stress_test(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    script = {"protocol": "scripted", "script": SCRIPT}
    job = await submit(
        api, "evaluate-adversarial",
        chatbot=script, cases=[CASE], max_turns=3, trials=2, turn_delay_seconds=0,
    )  # fmt: skip
    path = f"/api/eval-runs/{job['run_id']}"
    empty = await get(api, f"{path}/statistics")
    await work(dsn, settings)

    found = await get(api, f"{path}/statistics")
    rows = (await get(api, f"{path}/adversarial"))["evaluations"]
    page = await get(api, f"{path}/trials")
    second = await get(api, f"{path}/trials", limit=1, after=page["trials"][0]["id"])
    run = await get(api, path)

    assert empty["adversarial"]["total_tests"] == 0
    assert (found["command"], found["batch"]) == ("evaluate-adversarial", None)
    assert found["adversarial"].items() <= run["summary"].items()
    assert found["adversarial"]["total_tests"] == page["total"] == 2
    assert found["llm"]["calls"] == run["summary"]["llm_calls"] > 0
    assert page["trials"][1:] == second["trials"]
    for trial, row in zip(page["trials"], rows, strict=True):
        assert "result" not in trial
        judge = row["result"]["judge"] or {}
        assert trial["first_failing_turn"] == judge.get("first_failing_turn")
        assert {key: row.get(key) for key in trial if key in row}.items() <= trial.items()


async def test_a_run_without_rows_has_figures_of_nothing(
    api: httpx.AsyncClient, run_id: UUID
) -> None:
    found = await get(api, f"/api/eval-runs/{run_id}/statistics")

    assert (found["status"], found["total_items"]) == ("pending", None)
    assert (found["batch"]["threads"], found["batch"]["failed"]) == (0, 0)
    assert (intents(found), found["batch"]["failures"]) == (None, [])
    assert found["batch"]["coverage"] == {}
    assert [each["count"] for each in correctness(found)] == [0] * 5
    assert found["llm"] == {
        "calls": 0, "failed_calls": 0, "reused_calls": 0, "tokens_in": 0, "tokens_out": 0,
        "cost_usd": "0",
        "unpriced_calls": 0, "evaluators": [],
        "latency": {"edges_ms": [], "counts": {}}, "timeline": [],
    }  # fmt: skip


async def test_what_a_cancelled_run_has_found_keeps_its_figures(
    api: httpx.AsyncClient, database: Database
) -> None:
    job = await submit(api, total_items=5)
    await keep(database, UUID(job["run_id"]), "t1", worst_correctness="PASS")
    await api.post(f"/api/jobs/{job['id']}/cancel")

    found = await get(api, f"/api/eval-runs/{job['run_id']}/statistics")

    assert (found["status"], found["batch"]["threads"]) == ("cancelled", 1)
    assert share(found, "PASS")["count"] == 1


async def test_a_run_that_failed_says_why(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    run_id = (await submit(api, total_items=3))["run_id"]
    await work(dsn, settings, Behaviour(rate_refusal=1.0))

    found = await get(api, f"/api/eval-runs/{run_id}/statistics")

    assert (found["status"], found["batch"]["failed"]) == ("failed", 3)
    assert intents(found) is None
    assert {each["reason"] for each in found["batch"]["failures"]} == {"judge_refused"}
    assert {each["rate"] for each in found["batch"]["coverage"].values()} == {0.0}
    assert found["llm"]["calls"] == found["llm"]["failed_calls"] > 0
    assert found["llm"]["latency"]["edges_ms"] == []


async def test_all_figures_are_of_one_moment_while_a_run_goes_on(
    api: httpx.AsyncClient, database: Database, run_id: UUID
) -> None:
    right = message("Food", "Food", True)

    async def look() -> None:
        for _ in range(20):
            found = await get(api, f"/api/eval-runs/{run_id}/statistics")
            judged = found["batch"]["coverage"].get("intent", {"judged": 0})["judged"]
            compared = (intents(found) or {"compared": 0})["compared"]
            assert judged == compared == sum(each["count"] for each in correctness(found))

    looking = asyncio.create_task(look())
    number = 0
    while not looking.done():
        number += 1
        await keep(database, run_id, f"t{number}", right, worst_correctness="PASS")
    await looking


async def test_a_run_of_another_kind_has_only_calls(
    api: httpx.AsyncClient, database: Database
) -> None:
    run_id = uuid4()
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO eval_runs (id, command) VALUES (%s, 'evaluate-other')", [run_id]
        )

    found = await get(api, f"/api/eval-runs/{run_id}/statistics")

    assert (found["batch"], found["adversarial"], found["llm"]["calls"]) == (None, None, 0)


# Visibility.


async def test_another_s_run_is_as_if_it_were_not_there(
    client: Client, database: Database, run_id: UUID
) -> None:
    await keep(database, run_id, "t1", worst_correctness="PASS")
    await log_calls(database, run_id, {})
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT id FROM api_logs")
        ((log_id,),) = await cursor.fetchall()
        cursor = await connection.execute("SELECT id FROM thread_evaluations")
        ((evaluation_id,),) = await cursor.fetchall()

    def of(name: str) -> RequestContext:
        caller = ApiCaller(name=name, right=Right.READ)
        return RequestContext(client=client, caller=caller, broadcaster=Broadcaster(client))

    owner, other = of("default"), of("someone")
    asked = metrics.OutcomesQuery(run_id=run_id)
    assert (await figures.get_run_outcomes(owner, asked)).total == 1
    assert (await figures.get_run_outcomes(other, asked)).total == 0
    assert (await figures.get_run_outcomes(other, asked)).outcomes == []
    trials = metrics.TrialsQuery(run_id=run_id)
    assert (await figures.get_run_trials(other, trials)).trials == []
    assert (await figures.get_run_statistics(owner, RunId(run_id=run_id))).run_id == run_id
    with pytest.raises(HTTPException, match="Run not found"):
        await figures.get_run_statistics(other, RunId(run_id=run_id))
    for thread_id in (None, "t1"):
        logs = LogsQuery(run_id=run_id, thread_id=thread_id)
        assert len((await get_run_logs(owner, logs)).logs) == 1
        assert (await get_run_logs(other, logs)).logs == []
    log = metrics.LogOfRun(run_id=run_id, log_id=log_id)
    assert (await figures.get_run_log(owner, log)).prompt == "the prompt"
    thread = metrics.ThreadOfRun(run_id=run_id, evaluation_id=evaluation_id)
    assert (await figures.get_run_thread(owner, thread)).evaluation.id == evaluation_id
    with pytest.raises(HTTPException, match="Conversation not found"):
        await figures.get_run_thread(other, thread)
    with pytest.raises(HTTPException, match="LLM call not found"):
        await figures.get_run_log(other, log)


async def test_of_an_unknown_run_there_is_nothing(api: httpx.AsyncClient) -> None:
    path = f"/api/eval-runs/{uuid4()}"
    reply = await api.get(f"{path}/statistics")

    assert (reply.status_code, reply.json()) == (404, {"detail": "Run not found"})
    for what in ("outcomes", "trials"):
        page = await get(api, f"{path}/{what}")
        assert (page[what], page["total"]) == ([], 0)


async def test_what_is_wrong_with_a_request_is_named(api: httpx.AsyncClient) -> None:
    for path, loc in (
        ("/17/statistics", ["path", "run_id"]),
        ("/{id}/outcomes?limit=5001", ["query", "limit"]),
        ("/{id}/outcomes?after=x", ["query", "after"]),
        ("/{id}/trials?limit=0", ["query", "limit"]),
        ("/{id}/threads/x", ["path", "evaluation_id"]),
        ("/{id}/logs/x", ["path", "log_id"]),
        ("/{id}/logs/9223372036854775808", ["path", "log_id"]),
        (f"/{{id}}/logs?thread_id={'x' * 501}", ["query", "thread_id"]),
    ):
        reply = await api.get("/api/eval-runs" + path.format(id=uuid4()))

        assert reply.status_code == 422, path
        assert [problem["loc"] for problem in reply.json()["detail"]] == [loc]


def test_no_figure_needs_a_result_to_be_read() -> None:
    assert {name for name, statement in QUERIES.items() if "result" in statement} == {"thread"}


# Names in a job's params.


async def test_apps_are_listed_as_data(api: httpx.AsyncClient) -> None:
    found = {each["app_id"]: each for each in await get(api, "/api/apps")}

    assert set(found) == {"kaira-bot", "retail-support"}
    assert found["kaira-bot"]["evaluators"] == ["intent", "correctness", "efficiency"]
    assert found["kaira-bot"]["has_adversarial"]
    assert "Kaira" in found["kaira-bot"]["name"]
    assert found["retail-support"]["about"].startswith("A support assistant")


async def test_providers_say_whether_they_can_be_used_and_keep_their_keys(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-to-be-seen")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "sk-never-to-be-seen")
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    monkeypatch.delenv("EVALQUEUE_LLM_MODEL", raising=False)

    reply = await api.get("/api/providers")

    assert "never-to-be-seen" not in reply.text
    found = {each.pop("name"): each for each in reply.json()}
    ready = {"ready": True, "reason": None, "without_batches": None}
    assert found["openai"] == ready | {"model": None}
    assert "run it as a server" in found["simulated"].pop("without_batches")
    assert found["simulated"] == {"ready": True, "reason": None, "model": "simulated-judge"}
    assert (found["gemini"]["ready"], found["gemini"]["model"]) == (False, None)
    assert "GEMINI_API_KEY" in found["gemini"]["reason"]
    assert "AZURE_OPENAI_ENDPOINT" in found["azure_openai"]["reason"]

    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "openai")
    monkeypatch.setenv("EVALQUEUE_LLM_MODEL", "gpt-x")
    by_name = {each["name"]: each["model"] for each in await get(api, "/api/providers")}
    assert (by_name["openai"], by_name["simulated"]) == ("gpt-x", "simulated-judge")
