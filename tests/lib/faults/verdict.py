"""Checks of a soak test beyond those of `checker`: whether the jobs match the responses."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from faults import checker
from faults.checker import Finding
from faults.load import CLOCK, Promises
from faults.work import Manner

CALLS_PER_LOSS = 8  # a batch has 4 calls in flight, and as many not yet recorded
API_JOBS = 300  # jobs that are compared with the API's responses
LOST, TWICE, STUCK = "lost", "twice", "stuck"
VERDICTS: Mapping[str, frozenset[str]] = {
    LOST: frozenset({"promised", "key", "whole", "task"}),
    TWICE: frozenset({"once", "called once", "continued once", "schedule"}),
    STUCK: frozenset({"settled", "left over", "worker"}),
}
"""The rules of each verdict; all other rules are "wrong"."""

_JOBS: LiteralString = """
    SELECT jobs.id, job_type, status, params, queue, max_attempts, owner, parent_id, after_id,
        error_message, started_at, completed_at
    FROM jobs"""
_LOST_BATCHES: LiteralString = """
    SELECT count(*) FROM job_attempts JOIN jobs ON jobs.id = job_id
    WHERE job_type = 'evaluate-batch' AND (outcome = 'lost' OR outcome = 'released'
        AND (error LIKE 'Its worker was lost%' OR error LIKE 'Its worker was cut off%'))"""
"""Also those that are not charged, because another job may have ended the worker."""
_LEFT_OVER: LiteralString = """
    SELECT jobs.id, count(*) FROM job_items JOIN jobs ON jobs.id = job_id
    WHERE completed_at IS NOT NULL GROUP BY jobs.id"""
_SIZES: LiteralString = """
    SELECT relname AS name, pg_total_relation_size(relid) AS bytes, n_live_tup AS live,
        n_dead_tup AS dead
    FROM pg_stat_user_tables WHERE n_live_tup + n_dead_tup > 0 AND schemaname <> 'faults'
    ORDER BY bytes DESC LIMIT 8"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was checked, and the findings."""

    summary: str
    findings: tuple[Finding, ...]
    calls_on_record: int
    tables: list[dict[str, Any]]

    @property
    def counts(self) -> dict[str, int]:
        counted = Counter(_verdict_of(finding.rule) for finding in self.findings)
        return {name: counted[name] for name in (*VERDICTS, "wrong")}


async def judge(
    address: str,
    promises: Promises,
    *,
    minutes: float,
    worker_errors: list[str],
    over_limit: list[str],
) -> Verdict:
    """Check a database whose jobs are all over."""
    async with await psycopg.AsyncConnection.connect(
        address, autocommit=True, row_factory=dict_row
    ) as connection:

        async def rows(query: LiteralString) -> list[dict[str, Any]]:
            return await (await connection.execute(query)).fetchall()

        jobs = {row["id"]: row for row in await rows(_JOBS)}
        lost_batches = (await rows(_LOST_BATCHES))[0]["count"]
        left_over = {row["id"]: row["count"] for row in await rows(_LEFT_OVER)}
        calls = await rows("SELECT count(*) FROM api_logs WHERE outcome = 'ok'")
        await connection.execute("ANALYZE")
        tables = await rows(_SIZES)
    report = await checker.check(
        address, calls_in_flight=lost_batches * CALLS_PER_LOSS, api_jobs=API_JOBS
    )
    findings = [
        *report.findings,
        *broken_promises(jobs, promises, minutes=minutes),
        *(_finding("left over", job_id, f"{count} items") for job_id, count in left_over.items()),
        *(_finding("worker", "fleet", error) for error in worker_errors),
        *(_finding("limit", "queue", what) for what in over_limit),
    ]
    return Verdict(
        summary=report.summary,
        findings=tuple(findings),
        calls_on_record=calls[0]["count"],
        tables=tables,
    )


def broken_promises(
    jobs: Mapping[UUID, Mapping[str, Any]], promises: Promises, *, minutes: float
) -> Iterator[Finding]:
    """Findings where rows of jobs don't match what the client library returned."""
    yield from _match_responses(jobs, promises)
    yield from _ended_as_requested(jobs, promises)
    yield from _in_order(jobs, promises)
    yield from _on_time(jobs, minutes)


def _finding(rule: str, where: object, what: str) -> Finding:
    return Finding(rule=rule, where=str(where), what=what)


def _verdict_of(rule: str) -> str:
    return next((verdict for verdict, rules in VERDICTS.items() if rule in rules), "wrong")


def _match_responses(jobs: Mapping[UUID, Any], promises: Promises) -> Iterator[Finding]:
    """The table has what the responses said."""
    for job_id in promises.jobs - jobs.keys():
        yield _finding("promised", job_id, "it was submitted, and does not exist")
    for key, ids in promises.keys.items():
        if len(ids) != 1:
            yield _finding("key", key, f"is {len(ids)} jobs")
    for job_id in promises.cancelled & jobs.keys():
        if jobs[job_id]["status"] != "cancelled":
            yield _finding(
                "cancelled", job_id, f"it was cancelled, and is {jobs[job_id]['status']}"
            )
    for broken in promises.broken:
        twice = "continued twice" in broken
        yield _finding("continued once" if twice else "answer", "API", broken)


def _ended_as_requested(jobs: Mapping[UUID, Any], promises: Promises) -> Iterator[Finding]:
    """No fault made a job fail, and no job was cancelled without a request."""
    for job in jobs.values():
        where = f"job {job['id']} ({job['job_type']}, {job['status']})"
        if job["status"] == "failed" and not _may_fail(job):
            yield _finding("failed", where, job["error_message"])
        unrequested = job["id"] not in promises.perhaps_cancelled and job["after_id"] is None
        if job["status"] == "cancelled" and unrequested and job["parent_id"] is None:
            yield _finding("cancelled", where, "without a request")
        if job["status"] == "completed" and _never_completes(job):
            yield _finding("completed", where, f"with {job['params']}")


def _may_fail(job: Mapping[str, Any]) -> bool:
    """Whether the job can use up its attempts, because it harms its worker or fails."""
    params = job["params"]
    harmful = params.get("kills_its_worker", 0) > 0 or params.get("manner") == Manner.BLOCKS
    return harmful or params.get("tries_again", 0) > 0 or _never_completes(job)


def _never_completes(job: Mapping[str, Any]) -> bool:
    params = job["params"]
    again: int = params.get("tries_again", 0)
    return job["parent_id"] is None and (params.get("fails", False) or again >= job["max_attempts"])


def _in_order(jobs: Mapping[UUID, Any], promises: Promises) -> Iterator[Finding]:
    """Jobs with `after` started after the other job had completed, or never."""
    for follower_id, before_id in promises.followers.items():
        follower, before = jobs.get(follower_id), jobs.get(before_id)
        if follower is None or before is None or follower["started_at"] is None:
            continue
        if before["status"] != "completed" or before["completed_at"] > follower["started_at"]:
            yield _finding("order", follower_id, f"began before {before_id} was completed")


def _on_time(jobs: Mapping[UUID, Any], minutes: float) -> Iterator[Finding]:
    submitted = sum(job["owner"] == CLOCK for job in jobs.values())
    if submitted > minutes + 2:
        yield _finding("schedule", CLOCK, f"{submitted} times in {minutes:.1f} minutes")
