"""Random sequences of steps on jobs leave the tables in the state that a small model predicts.

The model is pure Python without SQL. It predicts the result of each step, the jobs that a worker
claims, and the state of every job, task, attempt and run. The machine executes the steps on a real
Postgres, on several connections, and compares.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from evalqueue.jobs import TRANSITIONS, JobStatus

# Derandomized, so that a failure is caused by the change under test. EVALQUEUE_EXAMPLES=2000 draws
# new examples.
SEARCH = os.environ.get("EVALQUEUE_EXAMPLES")
SETTINGS = settings(
    max_examples=int(SEARCH or 80),
    stateful_step_count=50,
    derandomize=SEARCH is None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
OVER = {"completed", "failed", "cancelled"}
TASK_OF = {"queued": {"todo"}, "running": {"doing"}, "completed": {"succeeded"},
    "failed": {"failed"}, "cancelled": {"cancelled", "aborted", "succeeded", "failed"}}  # fmt: skip
HOUR = 3600.0  # seconds
QUEUES = ["evalqueue", "slow"]
ITEMS = ["a", "b", "c", "d"]

owners = st.sampled_from(["default", "ann", "bob"])
queues = st.sampled_from(QUEUES)
limits = st.none() | st.integers(1, 3)
which = st.integers(0, 1000)
requests = st.fixed_dictionaries(
    {
        "owner": owners,
        "queue": queues,
        "priority": st.sampled_from([0, 0, 5]),
        "max_attempts": st.integers(1, 3),
        "scheduled_at": st.sampled_from([None, None, None, "2999-01-01T00:00:00Z"]),
    }
)


@dataclass
class Modelled:
    """A job in the model. Its position in the queue is read from the table."""

    id: UUID
    owner: str = "default"
    queue: str = "evalqueue"
    priority: int = 0
    max_attempts: int = 3
    status: str = "queued"
    attempt: int = 0
    failed_attempts: int = 0
    worker: str | None = None
    lost: bool = False
    parent: UUID | None = None
    retry_of: UUID | None = None
    after: UUID | None = None
    waiting: bool = False
    later: bool = False
    """Due in an hour, which no test reaches."""
    result: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outcomes: list[str | None] = field(default_factory=list[str | None])
    """The outcomes of its attempts; the last one is None while it runs."""
    current: int = 0
    deleted_task: bool = False
    due_at: datetime | None = None
    task_id: int = 0
    spared: bool = False
    """It will be lost together with others of its worker."""
    spared_times: int = 0

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def isolated(self) -> bool:
        return self.spared_times >= 2

    @property
    def owner_queue(self) -> tuple[str, str]:
        return self.queue, self.owner


@dataclass
class Rules:
    paused: bool = False
    most: int | None = None
    most_per_owner: int | None = None


class World:
    """All jobs, and the effect of each step on them."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, Modelled] = {}
        self.rules = {queue: Rules() for queue in QUEUES}
        self.items: dict[tuple[UUID, str], tuple[UUID, int, bool]] = {}
        """The job and attempt that claimed each item, and whether the item is done."""
        self.keys: dict[tuple[str, str], tuple[UUID, object]] = {}

    def claims(self, worker: str, queues: Iterable[str], slots: int) -> list[Modelled]:
        """The jobs that this worker claims, in fair order."""
        given: list[Modelled] = []
        here = [job for job in self.running() if job.worker == worker]
        while len(given) < slots and (claimable := self._claimable(worker, set(queues))):
            job = min(claimable, key=self._rank)
            if any(other.isolated for other in given + here) or (job.isolated and given + here):
                break
            job.status, job.worker, job.lost = "running", worker, False
            job.attempt += 1
            job.outcomes.append(None)
            given.append(job)
        return given

    def _claimable(self, worker: str, queues: set[str]) -> list[Modelled]:
        near = {job.parent or job.id for job in self.running() if job.worker == worker}
        return [
            job for job in self.jobs.values()
            if job.status == "queued" and not job.waiting and not job.later
            and job.queue in queues and job.parent not in near and self._within_limits(job)
        ]  # fmt: skip

    def _within_limits(self, job: Modelled) -> bool:
        rules = self.rules[job.queue]
        together = sum(other.queue == job.queue for other in self.running())
        alone = self._running_of(job)
        return not (
            rules.paused
            or (rules.most is not None and together >= rules.most)
            or (rules.most_per_owner is not None and alone >= rules.most_per_owner)
        )

    def _rank(self, job: Modelled) -> tuple[object, ...]:
        is_helper = job.parent is not None
        return -job.priority, is_helper, self._running_of(job), job.due_at, job.task_id

    def _running_of(self, job: Modelled) -> int:
        return sum(other.owner_queue == job.owner_queue for other in self.running())

    def running(self) -> list[Modelled]:
        return [job for job in self.jobs.values() if job.status == "running"]

    def moves(self, job: Modelled, to: str, outcome: str, *, counted: bool = False) -> None:
        """End the attempt of a job, or a job without one."""
        if job.status == "running":
            job.outcomes[-1] = outcome
        job.status = to
        job.lost = job.spared = False
        job.failed_attempts += counted
        if to in OVER:
            self._end_dependents(job)

    def _end_dependents(self, job: Modelled) -> None:
        if helper_jobs := [each for each in self.jobs.values() if each.parent == job.id]:
            self.items = {key: claim for key, claim in self.items.items() if key[0] != job.id}
            for helper_job in helper_jobs:
                if not helper_job.over:
                    self.moves(helper_job, "cancelled", "cancelled")
        for follower in [each for each in self.jobs.values() if each.after == job.id]:
            if follower.waiting and follower.status == "queued":
                if job.status == "completed":
                    follower.waiting = False
                else:
                    self.moves(follower, "cancelled", "cancelled")

    def loses(self) -> int:
        """A job that lost its worker goes back to the queue, or fails."""
        found = sorted((job for job in self.running() if job.lost), key=lambda job: job.task_id)
        for job in found:
            # Its parent may have failed in the same recovery, which cancelled its helper jobs.
            if job.status != "running":
                continue
            if not job.spared:
                self._spares(job.worker)
            if job.spared and not job.isolated:
                job.spared_times += 1
                self.moves(job, "queued", "released")
            else:
                gives_up = job.failed_attempts + 1 >= job.max_attempts
                self.moves(job, "failed" if gives_up else "queued", "lost", counted=True)
        return len(found)

    def _spares(self, worker: str | None) -> None:
        """Several jobs that a worker claimed within seconds may each be the reason of its loss."""
        together = [job for job in self.running() if job.worker == worker and worker is not None]
        if len(together) > 1:
            for job in together:
                job.spared = not job.isolated

    def holder_runs(self, claim: tuple[UUID, int, bool]) -> bool:
        holder = self.jobs.get(claim[0])
        return holder is not None and holder.status == "running" and holder.attempt == claim[1]

    def forgets(self) -> None:
        """Jobs that are over are deleted, helper jobs with their parents."""
        gone = {job.id for job in self.jobs.values() if job.over and job.parent is None}
        self.jobs = {
            job_id: job for job_id, job in self.jobs.items()
            if job_id not in gone and job.parent not in gone
        }  # fmt: skip
        self.keys = {key: entry for key, entry in self.keys.items() if entry[0] in self.jobs}
        self.items = {key: claim for key, claim in self.items.items() if key[0] in self.jobs}
        for job in self.jobs.values():
            job.retry_of = None if job.retry_of in gone else job.retry_of
            job.after = None if job.after in gone else job.after


class Machine(RuleBasedStateMachine):
    """Executes each step on the tables and in the model."""

    def __init__(self, connections: list[psycopg.Connection[dict[str, Any]]]) -> None:
        super().__init__()
        self.connections = connections
        self.world = World()
        self.seen: dict[UUID, tuple[str, int]] = {}
        self.workers: dict[str, int] = {}
        self.turn = 0

    @initialize()
    def begins_empty(self) -> None:
        self.sql(
            "TRUNCATE jobs, procrastinate_jobs, procrastinate_workers, job_queues, job_leader, "
            "eval_runs, datasets RESTART IDENTITY CASCADE"
        )
        for name in ("one", "other"):
            row = self.row(
                "SELECT id, name FROM evalqueue_register_worker(%s, 'here', 1, '1', NULL, "
                "'{evaluate-it}', 4)", name,
            )  # fmt: skip
            self.workers[row["name"]] = row["id"]

    # Steps of clients.

    @rule(data=requests, number=st.integers(1, 4))
    def submits(self, data: Mapping[str, Any], number: int) -> None:
        for _ in range(number):
            self._submits(data)

    @rule(data=requests, key=st.sampled_from(["k", "l"]), n=st.integers(1, 2))
    def submits_with_a_key(self, data: Mapping[str, Any], key: str, n: int) -> None:
        request = {**data, "params": f'{{"n": {n}}}'}
        before = self.world.keys.get((data["owner"], key))
        if before is None:
            job_id = self._submits(request | {"idempotency_key": key})
            self.world.keys[data["owner"], key] = (job_id, request)
        elif before[1] == request:
            assert self._submitted(request | {"idempotency_key": key}) == before[0]
        else:
            with pytest.raises(psycopg.errors.UniqueViolation, match="used for another request"):
                self._submitted(request | {"idempotency_key": key})

    def _submits(self, request: Mapping[str, Any]) -> UUID:
        job_id = self._submitted(request)
        known = {key: request[key] for key in ("owner", "queue", "priority", "max_attempts")}
        later = request["scheduled_at"] is not None
        self.world.jobs[job_id] = Modelled(job_id, later=later, **known)
        return job_id

    def _submitted(self, request: Mapping[str, Any]) -> UUID:
        named = ", ".join(f"{name} => %({name})s" for name in request)
        return self.row(f"SELECT evalqueue_submit_job('evaluate-it', {named}) AS id", request)["id"]

    @precondition(lambda self: self.world.jobs)
    @rule(n=which)
    def submits_what_comes_after(self, n: int) -> None:
        before = self.any_job(n)
        submit = "SELECT evalqueue_submit_job('evaluate-it', after => %s) AS id"
        if before.status in ("failed", "cancelled"):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="nothing can start"):
                self.row(submit, before.id)
            return
        job_id = self.row(submit, before.id)["id"]
        waiting = before.status != "completed"
        self.world.jobs[job_id] = Modelled(job_id, after=before.id, waiting=waiting)

    @precondition(lambda self: self.world.jobs)
    @rule(n=which)
    def cancels(self, n: int) -> None:
        job = self.any_job(n)
        cancelled = self.row("SELECT evalqueue_cancel_job(%s) AS done", job.id)["done"]
        assert cancelled is not job.over
        if not job.over:
            self.world.moves(job, "cancelled", "cancelled")

    @precondition(lambda self: self.world.jobs)
    @rule(n=which)
    def retries(self, n: int) -> None:
        job = self.any_job(n)
        retry = "SELECT id FROM evalqueue_retry_job(%s)"
        (continued,) = [each for each in self.world.jobs.values() if each.retry_of == job.id] or [
            None
        ]
        whole = job.status == "completed" and "incomplete" not in job.result
        if continued is not None and not continued.over:
            assert self.row(retry, job.id)["id"] == continued.id
        elif continued is not None or job.parent or not job.over or whole:
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                self.row(retry, job.id)
        else:
            new = self.row(retry, job.id)["id"]
            self.world.jobs[new] = Modelled(
                new, owner=job.owner, queue=job.queue, priority=job.priority,
                max_attempts=job.max_attempts, retry_of=job.id,
            )  # fmt: skip

    # Steps of workers.

    @precondition(lambda self: any(job.status == "queued" for job in self.world.jobs.values()))
    @rule(w=st.integers(0, 1))
    def claims_all_it_can_have(self, w: int) -> None:
        self.claims(w, None, 4)

    @precondition(lambda self: any(job.status == "queued" for job in self.world.jobs.values()))
    @rule(w=st.integers(0, 1), queues=st.sampled_from([None, *QUEUES]), slots=st.integers(1, 4))
    def claims_some(self, w: int, queues: str | None, slots: int) -> None:
        self.claims(w, queues, slots)

    def claims(self, w: int, queues: str | None, slots: int) -> None:
        name = list(self.workers)[w]
        rows = self.rows(
            "SELECT id, attempt FROM evalqueue_claim_jobs(%s, %s, %s, '{evaluate-it}', %s, %s)",
            self.workers[name], name, None if queues is None else [queues], slots, HOUR,
        )  # fmt: skip
        expected = self.world.claims(name, QUEUES if queues is None else [queues], slots)
        assert [row["id"] for row in rows] == [job.id for job in expected]
        assert [row["attempt"] for row in rows] == [job.attempt for job in expected]

    @precondition(lambda self: self.world.running())
    @rule(n=which, old=st.sampled_from([0, 0, 0, 1]), current=st.integers(0, 9))
    def flushes(self, n: int, old: int, current: int) -> None:
        job = self.any_claimed(n)
        alive = self.row(
            "SELECT evalqueue_flush_job(%s, %s, %s, %s) AS alive",
            job.id, job.attempt - old, f'{{"current": {current}}}', HOUR,
        )["alive"]  # fmt: skip
        assert alive is (job.status == "running" and not old)
        if alive:
            job.lost = False
            job.current = max(job.current, current)

    @precondition(lambda self: self.world.running())
    @rule(
        n=which, old=st.sampled_from([0, 0, 0, 1]), later=st.booleans(),
        outcome=st.sampled_from(["completed", "with_errors", "failed", "retry", "released",
                                 "yielded"]),
    )  # fmt: skip
    def finishes(self, n: int, old: int, later: bool, outcome: str) -> None:
        job = self.any_claimed(n)
        result = {"incomplete": True} if outcome == "with_errors" else {}
        named = "completed" if outcome == "with_errors" else outcome
        status = self.row(
            "SELECT evalqueue_finish_job(%s, %s, %s, %s, 'failed', %s) AS status",
            job.id, job.attempt - old, named,
            psycopg.types.json.Jsonb(result) if named == "completed" else None,
            HOUR if later else 0,
        )["status"]  # fmt: skip
        if job.status != "running" or old:
            assert status is None
            return
        self._finished(job, named, result, later=later)
        assert status == job.status

    def _finished(self, job: Modelled, outcome: str, result: Any, *, later: bool) -> None:
        match outcome:
            case "completed":
                job.result = result
                self.world.moves(job, "completed", "completed")
            case "retry" if job.failed_attempts + 1 < job.max_attempts:
                job.later = later
                self.world.moves(job, "queued", "retried", counted=True)
            case "failed" | "retry":
                self.world.moves(job, "failed", "failed", counted=True)
            case _:
                self.world.moves(job, "queued", outcome)

    @precondition(lambda self: self.world.running())
    @rule(n=which, also=which)
    def loses_workers(self, n: int, also: int) -> None:
        for job in {self.any_running(n).id, self.any_running(also).id}:
            self.sql(
                "UPDATE jobs SET lease_expires_at = clock_timestamp() - interval '1 s' "
                "WHERE id = %s", job,
            )  # fmt: skip
            self.world.jobs[job].lost = True

    @rule()
    def reaps(self) -> None:
        found = self.row("SELECT evalqueue_recover_jobs() AS found")["found"]
        before = [job.id for job in self.world.running() if job.lost]
        assert found <= len(before)
        self.world.loses()

    @precondition(lambda self: self.world.running())
    @rule(n=which, old=st.sampled_from([0, 0, 1]), wanted=st.integers(0, 2))
    def starts_helpers(self, n: int, old: int, wanted: int) -> None:
        job = self.any_claimed(n)
        if job.parent is not None:
            return
        asked = self.row(
            "SELECT evalqueue_start_helpers(%s, %s, %s) AS accepted",
            job.id,
            job.attempt - old,
            wanted,
        )
        assert asked["accepted"] is (job.status == "running" and not old)
        known = {each.id for each in self.world.jobs.values() if each.parent == job.id}
        open_ = sum(not self.world.jobs[each].over for each in known)
        made = [
            row["id"] for row in self.rows("SELECT id FROM jobs WHERE parent_id = %s", job.id)
            if row["id"] not in known
        ]  # fmt: skip
        assert len(made) == (max(0, wanted - open_) if asked["accepted"] else 0)
        for helper_job in made:
            self.world.jobs[helper_job] = Modelled(
                helper_job, owner=job.owner, queue=job.queue, priority=job.priority,
                max_attempts=job.max_attempts, parent=job.id, current=0,
            )  # fmt: skip

    @precondition(lambda self: self.world.running())
    @rule(n=which, old=st.sampled_from([0, 0, 0, 1]), wanted=st.integers(1, 3))
    def claims_items(self, n: int, old: int, wanted: int) -> None:
        job, world = self.any_claimed(n), self.world
        root = job.parent or job.id
        row = self.row(
            "SELECT evalqueue_claim_items(%s, %s, %s, %s) AS items",
            job.id, job.attempt - old, ITEMS, wanted,
        )  # fmt: skip
        if job.status != "running" or old:
            assert row["items"] is None
            return
        free = [
            item for item in ITEMS
            if (claim := world.items.get((root, item))) is None
            or not (claim[2] or (claim[0] != job.id and world.holder_runs(claim)))
        ][:wanted]  # fmt: skip
        assert sorted(row["items"]) == free
        for item in free:
            world.items[root, item] = (job.id, job.attempt, False)

    @precondition(lambda self: any(not done for *_, done in self.world.items.values()))
    @rule(n=which, old=st.sampled_from([0, 0, 1]))
    def keeps_an_item(self, n: int, old: int) -> None:
        """Like `map`: inside the fence, and only claimed items."""
        open_ = [(key, claim) for key, claim in self.world.items.items() if not claim[2]]
        (root, item), (holder, attempt, _) = open_[n % len(open_)]
        connection = self.connection
        with connection.transaction():
            held = connection.execute(
                "SELECT evalqueue_hold_job(%s, %s) AS held", [holder, attempt - old]
            ).fetchone()
            assert held is not None
            claim = (holder, attempt - old, False)
            assert held["held"] is self.world.holder_runs(claim)
            if held["held"]:
                connection.execute(
                    "UPDATE job_items SET succeeded = true WHERE job_id = %s AND item = %s",
                    [root, item],
                )
                self.world.items[root, item] = (holder, attempt, True)

    # Steps of operators and the leader.

    @rule(
        queue=queues,
        paused=st.sampled_from([False, False, True]),
        most=limits,
        most_per_owner=limits,
    )
    def sets_rules(
        self, queue: str, paused: bool, most: int | None, most_per_owner: int | None
    ) -> None:
        self.sql("DELETE FROM job_queues WHERE name = %s", queue)
        self.sql(
            "INSERT INTO job_queues (name, paused_at, max_running, max_running_per_owner) "
            "VALUES (%s, CASE WHEN %s THEN now() END, %s, %s)",
            queue, paused, most, most_per_owner,
        )  # fmt: skip
        self.world.rules[queue] = Rules(paused, most, most_per_owner)

    @rule()
    def sweeps(self) -> None:
        self.row("SELECT * FROM evalqueue_lead('one', 60)")
        self.world.loses()

    @rule()
    def prunes(self) -> None:
        self.row("SELECT evalqueue_prune(interval '0', NULL, NULL)")
        self.world.forgets()

    # Changes of procrastinate's table by other programs.

    @precondition(lambda self: self.world.jobs)
    @rule(
        n=which,
        what=st.sampled_from([
            "succeeded", "failed", "aborted", "cancelled", "abort", "retried", "retried", "deleted",
        ]),
    )  # fmt: skip
    def moves_a_task(self, n: int, what: str) -> None:
        job = self.any_job(n)
        match what:
            case "cancelled" | "abort":
                self._cancels_the_task(job, abort=what == "abort")
            case "retried":
                self._retries_the_task(job, QUEUES[n % 2], n % 5 or None)
            case "deleted":
                self.sql("DELETE FROM procrastinate_jobs WHERE id = %s", job.task_id)
                job.deleted_task = True
                if not job.over:
                    self.world.moves(job, "cancelled", "cancelled")
            case _:
                self._finishes_the_task(job, what)

    def _finishes_the_task(self, job: Modelled, end: str) -> None:
        if job.over:
            return
        self.row("SELECT procrastinate_finish_job_v1(%s, %s, false)", job.task_id, end)
        ended = {"succeeded": "completed", "failed": "failed", "aborted": "cancelled"}[end]
        to = ended if job.status == "running" else "cancelled"
        self.world.moves(job, to, to)

    def _cancels_the_task(self, job: Modelled, *, abort: bool) -> None:
        self.row("SELECT procrastinate_cancel_job_v1(%s, %s, false)", job.task_id, abort)
        if job.status == "queued" or (job.status == "running" and abort):
            self.world.moves(job, "cancelled", "cancelled")

    def _retries_the_task(self, job: Modelled, queue: str, priority: int | None) -> None:
        retry = "SELECT procrastinate_retry_job_v2(%s, now(), %s, %s, NULL)"
        if job.status != "running":
            with pytest.raises(
                (
                    psycopg.errors.RaiseException,
                    psycopg.errors.ObjectNotInPrerequisiteState,
                )
            ):
                self.row(retry, job.task_id, priority, queue)
            return
        self.row(retry, job.task_id, priority, queue)
        job.queue = queue
        job.priority = job.priority if priority is None else priority
        self.world.moves(job, "queued", "released")

    @precondition(lambda self: any(job.later for job in self.world.jobs.values()))
    @rule(n=which)
    def becomes_due(self, n: int) -> None:
        put_off = [job for job in self.world.jobs.values() if job.later]
        job = put_off[n % len(put_off)]
        self.sql("UPDATE procrastinate_jobs SET scheduled_at = now() WHERE id = %s", job.task_id)
        if job.status == "queued" and not job.deleted_task:
            job.later = False

    # Invariants.

    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        found = {row["id"]: row for row in self.rows(ROWS)}
        assert found.keys() == self.world.jobs.keys()
        for job_id, row in found.items():
            job = self.world.jobs[job_id]
            job.due_at, job.task_id = row["due_at"], row["task_id"] or job.task_id
            assert self._said(row) == self._foreseen(job)
            self._agrees_with_task_and_run(job, row)
        self._transitions_are_allowed()

    def _said(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in COMPARED}

    def _foreseen(self, job: Modelled) -> dict[str, Any]:
        return {
            "status": job.status, "attempt": job.attempt, "failed_attempts": job.failed_attempts,
            "owner": job.owner, "queue": job.queue, "priority": job.priority,
            "parent_id": job.parent, "retry_of": job.retry_of, "after_id": job.after,
            "waiting": job.waiting, "outcomes": job.outcomes, "current": job.current,
        }  # fmt: skip

    def _agrees_with_task_and_run(self, job: Modelled, row: Mapping[str, Any]) -> None:
        if job.deleted_task:
            assert row["task"] is None
            assert job.over
        else:
            assert row["task"] in TASK_OF[job.status]
        assert (row["task"] == "doing") == (row["outcomes"][-1:] == [None])
        assert row["failed_attempts"] <= row["max_attempts"]
        counted = sum(outcome in ("failed", "retried", "lost") for outcome in row["outcomes"])
        # An attempt whose task another program failed is not counted.
        assert row["failed_attempts"] in (counted, counted - 1)
        if job.parent is not None:
            assert row["run"] is None
            assert job.over or not self.world.jobs[job.parent].over
        elif row["run"] is not None:  # otherwise a retry has taken over the run
            run = {"queued": "pending"}.get(job.status, job.status)
            assert row["run"] == ("completed_with_errors" if "incomplete" in job.result else run)

    def _transitions_are_allowed(self) -> None:
        for job in self.world.jobs.values():
            status, attempt = self.seen.get(job.id, (job.status, job.attempt))
            assert status == job.status or JobStatus(job.status) in TRANSITIONS[JobStatus(status)]
            assert attempt <= job.attempt <= attempt + 1
        self.seen = {job.id: (job.status, job.attempt) for job in self.world.jobs.values()}

    # Helpers.

    def any_job(self, n: int) -> Modelled:
        return list(self.world.jobs.values())[n % len(self.world.jobs)]

    def any_running(self, n: int) -> Modelled:
        running = self.world.running()
        return running[n % len(running)]

    def any_claimed(self, n: int) -> Modelled:
        """A job, in most cases a running one."""
        return self.any_job(n) if n % 7 == 0 else self.any_running(n)

    @property
    def connection(self) -> psycopg.Connection[dict[str, Any]]:
        """The next connection, in turn."""
        self.turn += 1
        return self.connections[self.turn % len(self.connections)]

    def sql(self, statement: str, *arguments: Any) -> None:
        self.connection.execute(statement.encode(), arguments)

    def rows(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        named = arguments[0] if arguments and isinstance(arguments[0], Mapping) else arguments
        return self.connection.execute(statement.encode(), named).fetchall()

    def row(self, statement: str, *arguments: Any) -> dict[str, Any]:
        (row,) = self.rows(statement, *arguments)
        return row


COMPARED = (
    "status", "attempt", "failed_attempts", "owner", "queue", "priority", "parent_id", "retry_of",
    "after_id", "waiting", "outcomes", "current",
)  # fmt: skip
ROWS = """
SELECT jobs.*, (progress ->> 'current')::integer AS current, task.status::text AS task,
    run.status AS run, ARRAY(
        SELECT outcome FROM job_attempts WHERE job_id = jobs.id ORDER BY attempt) AS outcomes
FROM jobs LEFT JOIN procrastinate_jobs AS task ON task.id = task_id
    LEFT JOIN eval_runs AS run ON run.job_id = jobs.id
"""


def test_whatever_is_done_the_tables_say_what_the_model_says(dsn: str):
    with ExitStack() as open_until_the_end:
        connections = [
            open_until_the_end.enter_context(
                psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
            )
            for _ in range(3)
        ]
        run_state_machine_as_test(partial(Machine, connections), settings=SETTINGS)
