"""The rows of adversarial tests: cases, conversations, verdicts, credential leases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from evalqueue import codec
from evalqueue.context import Checkpoint
from evalqueue.evaluators.adversarial.adjudication import CaseResult
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.dialogue import ENDING, EXCHANGE, Dialogue, Ending, Exchange
from evalqueue.evaluators.adversarial.rates import TrialOutcome
from evalqueue.evaluators.providers.earlier.replay import RecordedAnswer
from evalqueue.evaluators.runs.store import ERROR_LIMIT, recorded_answer
from evalqueue.evaluators.verdicts import (
    AdversarialVerdict,
    Difficulty,
    FailureMode,
    RuleStatus,
    StopReason,
)
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb

QUERIES = load("evaluation/adversarial")
LEASE_GRACE_SECONDS = 5.0  # how long a credential stays leased after its holder's attempt is over
LEASE_PATIENCE_SECONDS = 3.0  # how long a credential is reserved for the job that was refused it


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAttempt:
    """One trial of one case of one run, and the attempt that works on it."""

    run_id: UUID
    job_id: UUID
    attempt: int
    case_id: str
    trial: int
    credential: str | None = None

    @property
    def key(self) -> str:
        return key_of(self.case_id, self.trial)

    def arguments(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in TrialAttempt.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnjudgedConversation:
    """A conversation without a verdict, from an earlier attempt."""

    exchanges: tuple[Exchange, ...]
    ending: Ending | None
    """None: it was interrupted."""
    credential: str | None
    started_at: datetime
    ended_at: datetime | None

    @property
    def dialogue(self) -> Dialogue | None:
        """The conversation, if it came to an end."""
        return self.ending and Dialogue(exchanges=self.exchanges, ending=self.ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """A trial's result, to be stored."""

    place: TrialAttempt
    case_result: CaseResult
    started_at: datetime | None
    ended_at: datetime | None

    def arguments(self) -> dict[str, object]:
        found, case = self.case_result, self.case_result.case
        error = None if found.error is None else codec.clean_text(found.error, limit=ERROR_LIMIT)
        return self.place.arguments() | {
            "label": case.label,
            "category": case.category,
            "difficulty": case.difficulty.value,
            "persona": case.persona,
            "tactic": case.tactic,
            "verdict": None if found.verdict is None else found.verdict.value,
            "goal_achieved": found.goal_achieved,
            "total_turns": found.total_turns,
            "stop_reason": found.stop_reason.value,
            "error": error,
            "result": jsonb(found.result),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }


def key_of(case_id: str, trial: int) -> str:
    """The name of a trial, in checkpoints and in the record of calls."""
    return f"{case_id}/{trial}"


async def cases(connection: Connection, run_id: UUID, *, owner: str | None = None) -> list[Case]:
    """The cases of a run. The list is empty until `settle_cases` has stored them."""
    cursor = await connection.execute(QUERIES["cases"], {"run_id": run_id, "owner": owner})
    return [Case.of_json(body) for (body,) in await cursor.fetchall()]


async def settle_cases(
    connection: Connection, run_id: UUID, settled: Sequence[Case], *, trials: int
) -> None:
    """Store the cases of a run, unless they are stored already."""
    arguments = {"run_id": run_id, "cases": jsonb([case.as_row() for case in settled])}
    await connection.execute(QUERIES["settle_cases"], arguments)
    total = {"run_id": run_id, "total_items": len(settled) * trials}
    await connection.execute(QUERIES["count"], total)


async def cases_of(
    connection: Connection,
    run_id: UUID,
    case_ids: Sequence[str] | None,
    *,
    owner: str | None = None,
) -> list[Case]:
    """Cases of an earlier run: those named, or those that did not pass every time. Where `owner` is
    given, the runs of other owners have none."""
    named = None if case_ids is None else list(case_ids)
    arguments = {"run_id": run_id, "case_ids": named, "owner": owner}
    cursor = await connection.execute(QUERIES["cases_of"], arguments)
    return [Case.of_json(body) for (body,) in await cursor.fetchall()]


async def case_ids(connection: Connection, run_id: UUID) -> frozenset[str]:
    """The ids of a run's cases."""
    cursor = await connection.execute(QUERIES["case_ids"], {"run_id": run_id})
    return frozenset(case_id for (case_id,) in await cursor.fetchall())


async def checkpoint(connection: Connection, run_id: UUID, job_id: UUID) -> Checkpoint:
    """The trials that need no more work from this job."""
    arguments = {"run_id": run_id, "job_id": job_id}
    cursor = await connection.execute(QUERIES["checkpoint"], arguments)
    rows = await cursor.fetchall()
    return Checkpoint(
        succeeded=frozenset(key for key, succeeded in rows if succeeded),
        failed=frozenset(key for key, succeeded in rows if not succeeded),
    )


async def dialogues(
    connection: Connection, run_id: UUID, job_id: UUID
) -> dict[str, UnjudgedConversation]:
    """Conversations that can be judged, or that this job did not complete, by key."""
    arguments = {"run_id": run_id, "job_id": job_id}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["dialogues"], arguments)
        return {row["key"]: _unjudged(row) async for row in cursor}


async def begin(connection: Connection, place: TrialAttempt) -> None:
    """Record that a conversation begins. Earlier turns of this trial are deleted."""
    await connection.execute(QUERIES["forget"], place.arguments())
    await connection.execute(QUERIES["begin"], place.arguments())


async def note(connection: Connection, place: TrialAttempt, exchange: Exchange) -> None:
    """Store one turn: before its message is sent, and again with its answer."""
    turn = {
        "turn": exchange.number,
        "exchange": jsonb(EXCHANGE.dump_python(exchange, mode="json")),
    }
    await connection.execute(QUERIES["note"], place.arguments() | turn)


async def end(connection: Connection, place: TrialAttempt, ending: Ending) -> None:
    """Record that a conversation is over. From then on, any attempt can have it judged."""
    arguments = {"ending": jsonb(ENDING.dump_python(ending, mode="json"))}
    await connection.execute(QUERIES["end"], place.arguments() | arguments)


async def keep(connection: Connection, result: TrialResult) -> None:
    """Store a trial's result. It contains the transcript, so the stored turns are deleted, unless
    the conversation can still be judged."""
    await connection.execute(QUERIES["keep"], result.arguments())
    if not result.case_result.can_be_judged_later:
        await connection.execute(QUERIES["forget"], result.place.arguments())


async def outcomes(connection: Connection, run_id: UUID) -> list[TrialOutcome]:
    """The outcome of each trial, for the summary."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["outcomes"], {"run_id": run_id})
        return [_outcome(row) async for row in cursor]


async def lease_credential(
    connection: Connection, credential: str, *, job_id: UUID, attempt: int
) -> bool:
    """Lease a credential for this attempt. False: it is in use, and this attempt is next."""
    arguments = {
        "credential": credential,
        "job_id": job_id,
        "attempt": attempt,
        "grace_seconds": LEASE_GRACE_SECONDS,
        "patience_seconds": LEASE_PATIENCE_SECONDS,
    }
    cursor = await connection.execute(QUERIES["lease_credential"], arguments)
    row = await cursor.fetchone()
    return row is not None and row[0]


async def release_credential(
    connection: Connection, credential: str, *, job_id: UUID, attempt: int
) -> None:
    """Release a credential. No message of this attempt may still be on its way to the bot."""
    arguments = {"credential": credential, "job_id": job_id, "attempt": attempt}
    await connection.execute(QUERIES["release_credential"], arguments)


async def recorded(
    connection: Connection, *, run_id: UUID, job_id: UUID, evaluator: str, key: str | None = None
) -> list[RecordedAnswer]:
    """The answers that this job has paid for already, newest first.

    The answers of a conversation itself are of no use: a conversation can't be repeated.
    """
    arguments = {"run_id": run_id, "job_id": job_id, "evaluator": evaluator, "key": key}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["recorded"], arguments)
        return [recorded_answer(row) async for row in cursor]


def _unjudged(row: Mapping[str, Any]) -> UnjudgedConversation:
    return UnjudgedConversation(
        exchanges=tuple(EXCHANGE.validate_python(each) for each in row["exchanges"]),
        ending=None if row["ending"] is None else ENDING.validate_python(row["ending"]),
        credential=row["credential"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _outcome(row: Mapping[str, Any]) -> TrialOutcome:
    reached: Sequence[Mapping[str, Any]] = row["goal_verdicts"] or ()
    return TrialOutcome(
        case_id=row["case_id"],
        trial=row["trial"],
        difficulty=Difficulty(row["difficulty"]),
        persona=row["persona"],
        category=row["category"],
        traits=tuple(row["traits"] or ()),
        tactic=row["tactic"],
        goals=tuple(row["goals"] or ()),
        verdict=None if row["verdict"] is None else AdversarialVerdict(row["verdict"]),
        goal_verdicts={each["goal_id"]: each["achieved"] for each in reached},
        stop_reason=StopReason(row["stop_reason"]),
        failure_modes=tuple(map(FailureMode, row["failure_modes"] or ())),
        rules={
            each["rule_id"]: RuleStatus(each["status"]) for each in row["rule_compliance"] or ()
        },
        contradictions=tuple(row["contradictions"] or ()),
        failures=tuple(f"{each['evaluator']}: {each['reason']}" for each in row["failures"] or ()),
        error=row["error"],
    )
