"""What must be true of the tables once all is quiet, whatever was broken before.

Findings are values: none means sound. The history of statuses comes from a trigger of the test's
own, so that a moment's wrong status is found even if it was put right again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, LiteralString
from uuid import UUID

import httpx
import psycopg
from psycopg.rows import dict_row

from evalqueue import Client, JobStatus
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

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that must not be."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """All that is judged, read at one moment."""

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
    """What was looked at, and what is wrong with it."""

    findings: tuple[Finding, ...]
    summary: str


async def check(address: str, *, calls_in_flight: int = 0, told_about: int | None = None) -> Report:
    """Judge a database in which nothing happens any more.

    Args:
        calls_in_flight: LLM calls that were under way whenever a worker was lost, at most: so many
            may have been bought again.
        told_about: the API is asked about so many jobs; None: about all.
    """
    tables = await _read(address)
    findings = [
        *judge(tables, calls_in_flight=calls_in_flight),
        *await _told(address, tables.jobs[-told_about if told_about else 0 :]),
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
    """Everything that is wrong with these rows."""
    for job in tables.jobs:
        where = f"job {job['id']} ({job['status']}, attempt {job['attempt']})"
        yield from _settled(job, where)
        yield from _agrees_with_its_task(job, tables.tasks, where)
        yield from _moved_by_the_arrows(job, tables.history.get(job["id"], []), where)
        yield from _explained(job, tables.attempts.get(job["id"], []), where)
    yield from _done_once(tables)
    yield from _runs_fit(tables)
    yield from _not_bought_twice(tables.calls, calls_in_flight)


def _settled(job: Row, where: str) -> Iterator[Finding]:
    if not JobStatus(job["status"]).is_over:
        yield Finding(rule="settled", where=where, what="it is not over")


def _agrees_with_its_task(job: Row, tasks: Mapping[int, str], where: str) -> Iterator[Finding]:
    task = tasks.get(job["task_id"])
    if task is None:
        if not JobStatus(job["status"]).is_over:
            yield Finding(rule="task", where=where, what="it has none, and isn't over")
    elif task not in _TASKS[job["status"]]:
        yield Finding(rule="task", where=where, what=f"procrastinate says {task}")


def _moved_by_the_arrows(job: Row, history: list[tuple[str, str]], where: str) -> Iterator[Finding]:
    path = ["queued", *(new for _, new in history)]
    for old, new in pairwise(path):
        if JobStatus(new) not in TRANSITIONS[JobStatus(old)]:
            yield Finding(rule="arrows", where=where, what=" → ".join(path))
    if path[-1] != job["status"]:
        yield Finding(rule="arrows", where=where, what=f"its history ends with {path[-1]}")


def _explained(job: Row, attempts: list[Row], where: str) -> Iterator[Finding]:
    outcomes = [row["outcome"] for row in attempts]
    numbers = [row["attempt"] for row in attempts]

    def wrong(what: str) -> Finding:
        return Finding(rule="attempts", where=where, what=f"{what}: {numbers} {outcomes}")

    if numbers != list(range(1, job["attempt"] + 1)):
        yield wrong("there are gaps")
    if None in outcomes[:-1]:
        yield wrong("an old one is open")
    if (outcomes[-1:] == [None]) != (job["status"] == "running"):
        yield wrong("the open one doesn't fit")
    if outcomes and outcomes[-1] not in _LAST_OUTCOMES[job["status"]]:
        yield wrong("the last one doesn't explain the status")
    if not outcomes and job["status"] not in ("queued", "cancelled"):
        yield wrong("none explains the status")
    counted = sum(outcome in _COUNTED for outcome in outcomes)
    if counted != job["failed_attempts"]:
        yield wrong(f"{job['failed_attempts']} are counted and {counted} count")
    if counted > job["max_attempts"]:
        yield wrong(f"more than {job['max_attempts']}")


def _done_once(tables: Tables) -> Iterator[Finding]:
    for (job_id, item), count in _repeated((e["job_id"], e["item"]) for e in tables.effects):
        yield Finding(rule="once", where=f"job {job_id}", what=f"item {item} {count} times")
    for (run_id, thread_id), count in _repeated(
        (t["run_id"], t["thread_id"]) for t in tables.threads
    ):
        yield Finding(rule="once", where=f"run {run_id}", what=f"thread {thread_id} {count} times")
    found = Counter(effect["job_id"] for effect in tables.effects)
    for job in tables.jobs:
        promised = (job["result"] or {}).get("items")
        if job["status"] == "completed" and promised is not None and found[job["id"]] != promised:
            what = f"{found[job['id']]} effects for {promised} items"
            yield Finding(rule="whole", where=f"job {job['id']}", what=what)


def _runs_fit(tables: Tables) -> Iterator[Finding]:
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


def _not_bought_twice(calls: Iterable[Row], in_flight: int) -> Iterator[Finding]:
    parts = ("run_id", "thread_id", "evaluator", "turn", "method", "prompt")
    bought = (tuple(call[part] for part in parts) for call in calls if call["outcome"] == "ok")
    again = sum(count - 1 for _, count in _repeated(bought))
    if again > in_flight:
        what = f"{again} calls were bought again, and {in_flight} were in flight at most"
        yield Finding(rule="bought once", where="api_logs", what=what)


def _repeated(keys: Iterable[Any]) -> Iterator[tuple[Any, int]]:
    yield from ((key, count) for key, count in Counter(keys).items() if count > 1)


async def _told(address: str, jobs: Iterable[Row]) -> list[Finding]:
    """Whether the API says what the table says: the client, and HTTP."""
    found: list[Finding] = []
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
            truth = (row["status"], row["progress"], row["error_message"])
            for who, answer in answers.items():
                if answer != truth:
                    what = f"{who} says {answer}, the table {truth}"
                    found.append(Finding(rule="told", where=f"job {row['id']}", what=what))
    return found


async def _read(address: str) -> Tables:
    async with await psycopg.AsyncConnection.connect(address, row_factory=dict_row) as connection:
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
                "SELECT run_id, thread_id, evaluator, turn, method, md5(prompt) AS prompt, outcome "
                "FROM api_logs"
            ),
        )
