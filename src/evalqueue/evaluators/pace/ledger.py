"""The shared record of a credential's pace in Postgres: one statement reports and takes permits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

from psycopg.types.json import Json

from evalqueue import codec
from evalqueue.evaluators.pace.shares import Demand
from evalqueue.evaluators.providers.provider import LlmCredential, VendorLimits
from evalqueue.postgres.database import Database
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/pace")


@dataclass(slots=True, kw_only=True)
class Report:
    """What happened to the calls of one process since its last report."""

    epoch: int = 0
    answered: int = 0
    """Calls that were admitted and answered, whatever the answer was."""
    succeeded: bool = False
    refused: int = 0
    """Refusals by a rate limit, of calls that were sent in this epoch."""
    failed: int = 0
    """Calls that the endpoint did not answer."""
    retry_after: float | None = None
    reason: str | None = None
    limits: VendorLimits | None = None
    token_change: float = 0.0
    """Tokens used minus those that were reserved for them."""
    returned_seconds: float = 0.0
    """Of the allowance, for permits that were not used."""
    probe: str | None = None
    """`held`, or how the call that is made alone ended: answered, refused, failed, dropped."""

    def add_earlier(self, report: "Report") -> None:
        """Add an earlier report, which could not be made."""
        self.answered += report.answered
        self.succeeded |= report.succeeded
        self.refused += report.refused
        self.failed += report.failed
        self.retry_after = self.retry_after or report.retry_after
        self.reason = self.reason or report.reason
        self.limits = self.limits or report.limits
        self.token_change += report.token_change
        self.returned_seconds += report.returned_seconds
        if self.probe is None and report.probe != "held":
            self.probe = report.probe

    def as_json(self) -> dict[str, object]:
        found = asdict(self)
        del found["limits"]
        if self.limits is not None:
            found["request_limit"] = self.limits.requests_per_second
            found["token_limit"] = self.limits.tokens_per_second
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitRequest:
    """What one process wants."""

    wanted: int
    """Permits."""
    tokens_each: float
    ahead_seconds: float
    """No permit is for a moment further away."""
    jobs: Sequence[Demand]
    set_rate: float | None
    """Requests a second, by the settings."""
    set_tokens: float | None
    """Tokens a second, by the settings."""
    breaker: int
    """Failures in a row that stop new calls."""
    concurrent: int | None = None
    """Calls in flight of all processes together, by the settings."""
    slots: int = 0
    """How many of them this process wants for itself. It keeps to it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Permits, and what is known of the credential."""

    granted: int
    slots: int | None
    """How many calls this process may have in flight. None: the settings don't bound them."""
    is_probe: bool
    """Whether the permit is for the one call that is made alone."""
    first_in: float
    """Seconds until the first permit, or until the next one could be had."""
    step: float
    """Seconds between permits."""
    rate: float
    token_rate: float | None
    stated: float | None
    """Requests a second, as the vendor or the settings say."""
    is_limit_known: bool
    epoch: int
    is_probing: bool
    pause_kind: str | None
    pause_reason: str | None
    failures: int
    succeeded_ago: float | None
    demands: tuple[Demand, ...]


class Ledger(Protocol):
    """Where the processes that share a credential agree on its pace."""

    async def exchange(self, worker: str, report: Report, permits: PermitRequest) -> Grant | None:
        """Report, and take permits. None: another process is at it; ask again soon."""
        ...


class PostgresLedger:
    """The ledger of one credential, in its row."""

    def __init__(self, database: Database, credential: LlmCredential) -> None:
        self._database = database
        self._credential = credential

    async def exchange(self, worker: str, report: Report, permits: PermitRequest) -> Grant | None:
        jobs = [
            {
                "job": each.job,
                "owner": each.owner,
                "waiting": each.waiting,
                "in_flight": each.in_flight,
                "wanted": round(each.wanted, 3),
            }
            for each in permits.jobs
        ]
        request = report.as_json() | {
            "wanted": permits.wanted,
            "tokens_each": permits.tokens_each,
            "ahead": permits.ahead_seconds,
            "waiting": sum(each.waiting for each in permits.jobs),
            "jobs": jobs,
            "set_rate": permits.set_rate,
            "set_tokens": permits.set_tokens,
            "breaker": permits.breaker,
            "concurrent": permits.concurrent,
            "slots": permits.slots,
        }
        if report.reason is not None:
            request["reason"] = codec.clean_text(report.reason, limit=500)
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                QUERIES["exchange"],
                {
                    "credential": self._credential.key,
                    "label": codec.clean_text(self._credential.label, limit=300),
                    "worker": worker,
                    "request": Json(request, dumps=codec.dump_json),
                },
            )
            row = await cursor.fetchone()
        return None if row is None or row[0] is None else _grant(row[0])


def _grant(found: Mapping[str, Any]) -> Grant:
    return Grant(
        granted=found["granted"],
        slots=found["slots"],
        is_probe=found["is_probe"],
        first_in=found["first_in"],
        step=found["step"],
        rate=found["rate"],
        token_rate=found["token_rate"],
        stated=found["stated"],
        is_limit_known=found["is_limit_known"],
        epoch=found["epoch"],
        is_probing=found["is_probing"],
        pause_kind=found["pause_kind"],
        pause_reason=found["pause_reason"],
        failures=found["failures"],
        succeeded_ago=found["succeeded_ago"],
        demands=tuple(_demands(found["demand"])),
    )


def _demands(rows: Sequence[Mapping[str, Any]]) -> list[Demand]:
    return [
        Demand(
            worker=row["worker"],
            job=str(job["job"]),
            owner=str(job["owner"]),
            wanted=float(job["wanted"]),
            waiting=int(job["waiting"]),
            in_flight=int(job["in_flight"]),
        )
        for row in rows
        for job in cast("Sequence[Mapping[str, Any]]", row["jobs"])
    ]
