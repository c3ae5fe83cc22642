"""Invariants of the tables once all jobs are over, whatever faults were injected before.

A check returns findings; none means that the tables are sound. The history of statuses is written
by a trigger of the tests, so a wrong status is found even if it was corrected later.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, LiteralString
from uuid import UUID

import httpx
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from evalqueue import Client, JobStatus, codec
from evalqueue.http.app import create_app
from evalqueue.jobs import TRANSITIONS

SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS faults;
CREATE TABLE faults.history (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL,
    old text NOT NULL,
    new text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION faults.write_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO faults.history (job_id, old, new) VALUES (NEW.id, OLD.status, NEW.status);
    RETURN NULL;
END;
$$;
CREATE TRIGGER faults_history AFTER UPDATE ON jobs
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION faults.write_history();
"""

_TASKS = {
    "queued": {"todo"},
    "running": {"doing"},
    "completed": {"succeeded"},
    "failed": {"failed"},
    "cancelled": {"cancelled", "aborted"},
}
_RUNS = {
    "queued": {"pending"},
    "running": {"running"},
    "completed": {"completed", "completed_with_errors"},
    "failed": {"failed"},
    "cancelled": {"cancelled"},
}
_COUNTED = {"failed", "retried", "lost"}
_LAST_OUTCOMES = {
    "queued": {"retried", "released", "yielded", "parked", "lost"},
    "running": {None},
    "completed": {"completed"},
    "failed": {"failed", "lost"},
    # Cancelled while it ran, or between two attempts.
    "cancelled": {"cancelled", "retried", "released", "yielded", "parked", "lost"},
}

KNOWN_AFTER = timedelta(seconds=2)
"""An attempt reads which answers are on record when it begins a conversation. One that is written
later, by a worker that was frozen, is not known to it."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A violated invariant."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """All rows that are checked, read in one snapshot."""

    jobs: list[Row]
    tasks: dict[int, str]
    history: dict[UUID, list[tuple[str, str]]]
    attempts: dict[UUID, list[Row]]
    effects: list[Row]
    runs: list[Row]
    threads: list[Row]
    calls: list[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was checked, and the findings."""

    findings: tuple[Finding, ...]
    summary: str


async def check(address: str, *, calls_in_flight: int = 0, api_jobs: int | None = None) -> Report:
    """Check a database whose jobs are all over.

    Args:
        calls_in_flight: the largest number of LLM calls that were in flight when workers were
            lost. So many may have been repeated.
        api_jobs: how many jobs are compared with the API's responses; None: all.
    """
    tables = await _read(address)
    findings = [
        *judge(tables, calls_in_flight=calls_in_flight),
        *await _api_agrees(address, tables.jobs[-api_jobs if api_jobs else 0 :]),
    ]
    statuses = Counter(job["status"] for job in tables.jobs)
    jobs = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    attempts = sum(len(rows) for rows in tables.attempts.values())
    return Report(
        findings=tuple(findings),
        summary=(
            f"{len(tables.jobs)} jobs ({jobs}), "
            f"{attempts} attempts, {len(tables.effects)} effects, {len(tables.threads)} threads, "
            f"{len(tables.calls)} calls: {len(findings)} findings"
        ),
    )


def judge(tables: Tables, *, calls_in_flight: int = 0) -> Iterator[Finding]:
    """All findings in these rows."""
    for job in tables.jobs:
        where = f"job {job['id']} ({job['status']}, attempt {job['attempt']})"
        yield from _is_over(job, where)
        yield from _matches_task(job, tables.tasks, where)
        yield from _made_allowed_transitions(job, tables.history.get(job["id"], []), where)
        yield from _matches_attempts(job, tables.attempts.get(job["id"], []), where)
    yield from _stored_once(tables)
    yield from _runs_match_jobs(tables)
    yield from _calls_made_once(tables.calls, calls_in_flight)


def _is_over(job: Row, where: str) -> Iterator[Finding]:
    if not JobStatus(job["status"]).is_over:
        yield Finding(rule="settled", where=where, what="it is not over")


def _matches_task(job: Row, tasks: Mapping[int, str], where: str) -> Iterator[Finding]:
    task = tasks.get(job["task_id"])
    if task is None:
        if not JobStatus(job["status"]).is_over:
            yield Finding(rule="task", where=where, what="it has none, and is not over")
    elif task not in _TASKS[job["status"]]:
        yield Finding(rule="task", where=where, what=f"procrastinate says {task}")


def _made_allowed_transitions(
    job: Row, history: list[tuple[str, str]], where: str
) -> Iterator[Finding]:
    path = ["queued", *(new for _, new in history)]
    for old, new in pairwise(path):
        if JobStatus(new) not in TRANSITIONS[JobStatus(old)]:
            yield Finding(rule="transitions", where=where, what=" → ".join(path))
    if path[-1] != job["status"]:
        yield Finding(rule="transitions", where=where, what=f"its history ends with {path[-1]}")


def _matches_attempts(job: Row, attempts: list[Row], where: str) -> Iterator[Finding]:
    outcomes = [row["outcome"] for row in attempts]
    numbers = [row["attempt"] for row in attempts]

    def wrong(what: str) -> Finding:
        return Finding(rule="attempts", where=where, what=f"{what}: {numbers} {outcomes}")

    if numbers != list(range(1, job["attempt"] + 1)):
        yield wrong("attempt numbers have gaps")
    if None in outcomes[:-1]:
        yield wrong("an earlier attempt is open")
    if (outcomes[-1:] == [None]) != (job["status"] == "running"):
        yield wrong("the open attempt doesn't match the status")
    if outcomes and outcomes[-1] not in _LAST_OUTCOMES[job["status"]]:
        yield wrong("the last outcome doesn't match the status")
    if not outcomes and job["status"] not in ("queued", "cancelled"):
        yield wrong("there is no attempt")
    counted = sum(outcome in _COUNTED for outcome in outcomes)
    if counted != job["failed_attempts"]:
        yield wrong(f"failed_attempts is {job['failed_attempts']}, and {counted} failed")
    if counted > job["max_attempts"]:
        yield wrong(f"more than {job['max_attempts']} failed")


def _stored_once(tables: Tables) -> Iterator[Finding]:
    for (job_id, item), count in _repeated((e["job_id"], e["item"]) for e in tables.effects):
        yield Finding(rule="once", where=f"job {job_id}", what=f"item {item} {count} times")
    for (run_id, thread_id), count in _repeated(
        (t["run_id"], t["thread_id"]) for t in tables.threads
    ):
        yield Finding(rule="once", where=f"run {run_id}", what=f"thread {thread_id} {count} times")
    stored = Counter(effect["job_id"] for effect in tables.effects)
    for job in tables.jobs:
        promised = (job["result"] or {}).get("items")
        if job["status"] == "completed" and promised is not None and stored[job["id"]] != promised:
            what = f"{stored[job['id']]} effects for {promised} items"
            yield Finding(rule="whole", where=f"job {job['id']}", what=what)


def _runs_match_jobs(tables: Tables) -> Iterator[Finding]:
    jobs = {job["id"]: job for job in tables.jobs}
    threads = Counter(thread["run_id"] for thread in tables.threads)
    for run in tables.runs:
        job = jobs.get(run["job_id"])
        where = f"run {run['id']} ({run['status']})"
        if job is not None and run["status"] not in _RUNS[job["status"]]:
            yield Finding(rule="run", where=where, what=f"its job is {job['status']}")
        complete = run["status"] in _RUNS["completed"]
        if complete and threads[run["id"]] != run["total_items"]:
            what = f"{threads[run['id']]} threads of {run['total_items']}"
            yield Finding(rule="whole", where=where, what=what)


def _calls_made_once(calls: Iterable[Row], in_flight: int) -> Iterator[Finding]:
    parts = ("run_id", "thread_id", "evaluator", "turn", "method", "prompt")
    answered: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call["started_at"]):
        if call["outcome"] == "ok":
            answered[tuple(call[part] for part in parts)].append(call)
    repeated = [(first, again) for same in answered.values() for first, again in pairwise(same)]
    for first, again in repeated:
        late = again["started_at"] - first["created_at"]
        if late > KNOWN_AFTER:
            what = f"turn {again['turn']} was asked {late} after its answer was on record"
            where = f"run {again['run_id']}, thread {again['thread_id']}, {again['evaluator']}"
            yield Finding(rule="called once", where=where, what=what)
    if len(repeated) > in_flight:
        what = f"{len(repeated)} calls were repeated, and at most {in_flight} were in flight"
        yield Finding(rule="called once", where="api_logs", what=what)


def _repeated(keys: Iterable[Any]) -> Iterator[tuple[Any, int]]:
    yield from ((key, count) for key, count in Counter(keys).items() if count > 1)


async def _api_agrees(address: str, jobs: Iterable[Row]) -> list[Finding]:
    """Whether the client and the HTTP API return what the table has."""
    findings: list[Finding] = []
    async with (
        Client(address) as client,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(client)), base_url="http://127.0.0.1"
        ) as http,
    ):
        for row in jobs:
            job = await client.get(row["id"])
            reply = (await http.get(f"/api/jobs/{row['id']}")).json()
            answers = {
                "the client": (str(job.status), job.progress.as_json(), job.error_message),
                "HTTP": (reply["status"], reply["progress"], reply["error_message"]),
            }
            expected = (row["status"], row["progress"], row["error_message"])
            for source, answer in answers.items():
                if answer != expected:
                    what = f"{source} returns {answer}, the table has {expected}"
                    findings.append(Finding(rule="api", where=f"job {row['id']}", what=what))
    return findings


async def _read(address: str) -> Tables:
    options = "-c datestyle=ISO -c timezone=UTC"  # whatever the database says
    async with await psycopg.AsyncConnection.connect(
        address, row_factory=dict_row, options=options
    ) as connection:
        set_json_loads(codec.load_json, connection)
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

        async def all_of(query: LiteralString) -> list[dict[str, Any]]:
            return await (await connection.execute(query)).fetchall()

        history: dict[UUID, list[tuple[str, str]]] = defaultdict(list)
        for row in await all_of("SELECT * FROM faults.history ORDER BY number"):
            history[row["job_id"]].append((row["old"], row["new"]))
        attempts: dict[UUID, list[Row]] = defaultdict(list)
        for row in await all_of("SELECT * FROM job_attempts ORDER BY job_id, attempt"):
            attempts[row["job_id"]].append(row)
        tasks = await all_of("SELECT id, status::text FROM procrastinate_jobs")
        return Tables(
            jobs=await all_of("SELECT * FROM jobs ORDER BY created_at"),
            tasks={task["id"]: task["status"] for task in tasks},
            history=history,
            attempts=attempts,
            effects=await all_of("SELECT * FROM faults.effects"),
            runs=await all_of("SELECT * FROM eval_runs"),
            threads=await all_of("SELECT run_id, thread_id FROM thread_evaluations"),
            calls=await all_of(
                "SELECT run_id, thread_id, evaluator, turn, method, md5(prompt) AS prompt, outcome,"
                " started_at, created_at FROM api_logs"
            ),
        )
