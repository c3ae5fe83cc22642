"""Reservations in Postgres: one statement reserves for all calls of an attempt that wait."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from evalqueue.evaluators.caps.limits import Caps
from evalqueue.evaluators.caps.worst_case import CallAmount
from evalqueue.postgres.database import Database
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb

QUERIES = load("evaluation/caps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an attempt has used, and what its calls in flight may use."""

    amount: CallAmount
    in_this_month: CallAmount
    """The part of it since the month began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the next call does not fit."""

    is_month: bool
    """Whether it is the owner's monthly cap, and not the job's."""
    is_usd: bool
    """Whether it is in dollars, and not in tokens."""
    limit: Decimal
    others_may_free: bool
    """Whether other attempts have reserved more than they may use in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapGrant:
    """What was reserved."""

    calls: int
    has_extra: bool
    month: str
    """`2026-11`, in the database's time."""
    refusal: Refusal | None
    """None: all calls that were named fit."""


async def used_in_month(database: Database, owner: str) -> Decimal:
    """US dollars that an owner's calls have used of a monthly cap, without those in flight."""
    async with database.connection() as connection:
        cursor = await connection.execute(QUERIES["used_in_month"], {"owner": owner})
        ((used,),) = await cursor.fetchall()
    return used


@dataclass(frozen=True, slots=True, kw_only=True)
class CapLedger:
    """The reservations of one attempt."""

    database: Database
    job_id: UUID
    """Of the job that makes the calls, which may be a helper job."""
    root_job_id: UUID
    """The job whose cap it is."""
    owner: str
    attempt: int
    caps: Caps
    holder: UUID
    revisions: Iterator[int]
    """Numbers of statements: one that arrives after its successor changes nothing."""

    @classmethod
    def of_attempt(
        cls,
        database: Database,
        *,
        job_id: UUID,
        root_job_id: UUID,
        owner: str,
        attempt: int,
        caps: Caps,
    ) -> "CapLedger":
        return cls(
            database=database,
            job_id=job_id,
            root_job_id=root_job_id,
            owner=owner,
            attempt=attempt,
            caps=caps,
            holder=uuid4(),
            revisions=itertools.count(1),
        )

    async def reserve(
        self, held: Held, wanted: Sequence[CallAmount], *, extra: CallAmount, in_flight: int
    ) -> CapGrant | None:
        """Reserve for as many calls as fit. It may be repeated when its answer was lost.

        Args:
            held: instead of what was held before.
            wanted: the worst case of each call.
            extra: for later calls, where much is left.
            in_flight: calls that are not settled.

        Returns:
            None: the attempt is over, or a later statement came first.
        """
        asked = {
            "caps": self._caps(held),
            "usd": [_text(each.usd) for each in wanted],
            "tokens": [each.tokens for each in wanted],
            "extra_usd": _text(extra.usd),
            "extra_tokens": extra.tokens,
            "in_flight": in_flight,
            "revision": next(self.revisions),
        }
        async with self.database.connection() as connection:
            cursor = await connection.execute(
                QUERIES["reserve"],
                {
                    "job_id": self.job_id,
                    "attempt": self.attempt,
                    "holder": self.holder,
                    "asked": jsonb(asked),
                },
            )
            row = await cursor.fetchone()
        return None if row is None or row[0] is None else _grant(row[0])

    async def settle(self, held: Held, *, month: str) -> None:
        """Hold no more than was used."""
        async with self.database.connection() as connection:
            await connection.execute(
                QUERIES["settle"],
                {
                    "holder": self.holder,
                    "held": jsonb(self._caps(held)),
                    "month": month,
                    "revision": next(self.revisions),
                },
            )

    def _caps(self, held: Held) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        if self.caps.job_usd is not None or self.caps.job_tokens is not None:
            found.append({
                "kind": "job",
                "name": str(self.root_job_id),
                "limit_usd": None if self.caps.job_usd is None else _text(self.caps.job_usd),
                "limit_tokens": self.caps.job_tokens,
                "held_usd": _text(held.amount.usd),
                "held_tokens": held.amount.tokens,
            })  # fmt: skip
        if self.caps.month_usd is not None:
            found.append({
                "kind": "month",
                "name": self.owner,
                "limit_usd": _text(self.caps.month_usd),
                "limit_tokens": None,
                "held_usd": _text(held.in_this_month.usd),
                "held_tokens": held.in_this_month.tokens,
            })  # fmt: skip
        return found


def _text(amount: Decimal) -> str:
    return format(amount, "f")


def _grant(found: Mapping[str, Any]) -> CapGrant:
    refusal = None
    if "kind" in found:
        refusal = Refusal(
            is_month=found["kind"] == "month",
            is_usd=found["unit"] == "usd",
            limit=Decimal(str(found["limit"])),
            others_may_free=found["is_open"],
        )
    return CapGrant(
        calls=found["granted"],
        has_extra=found["extra"],
        month=found["month"],
        refusal=refusal,
    )
