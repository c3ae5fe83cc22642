"""Which of the new conversations are evaluated.

A conversation's id decides whether it belongs to the sample: every worker, and every repetition,
takes the same ones.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

_HASHES = 2**64


class Skip(StrEnum):
    """Why a conversation is not evaluated: columns of `source_readings`."""

    NOT_IN_SAMPLE = "not_in_sample"
    OVER_PER_INTENT = "over_per_intent"
    OVER_PER_USER = "over_per_user"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The rules of a sample."""

    rate: float = 1.0
    """The share of conversations that are taken, above 0, at most 1."""
    seed: int = 0
    """Another seed takes other conversations."""
    per_intent: int | None = None
    """So many of each intent at most. None: any number."""
    per_user: int | None = None
    """So many of each user at most. None: any number."""
    errors: bool = True
    """Whether all conversations with an error are taken, whatever the other rules say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is known of a conversation before it is read."""

    thread_id: str
    user_id: str | None
    intent: str | None
    has_error: bool


@dataclass(slots=True)
class Sample:
    """Applies the rules to one conversation after the other."""

    rules: Sampling
    _intents: Counter[str | None] = field(default_factory=Counter[str | None])
    _users: Counter[str | None] = field(default_factory=Counter[str | None])

    def takes(self, candidate: Candidate) -> bool:
        """Whether the conversation belongs to the sample. Counts those that do."""
        return self.skip(candidate) is None

    def skip(self, candidate: Candidate) -> Skip | None:
        """Why the conversation does not belong to the sample. None: it does, and is counted."""
        reason = self._skip(candidate)
        if reason is None:
            self._intents[candidate.intent] += 1
            self._users[candidate.user_id] += 1
        return reason

    def _skip(self, candidate: Candidate) -> Skip | None:
        rules = self.rules
        if rules.errors and candidate.has_error:
            return None
        if share(candidate.thread_id, seed=rules.seed) >= rules.rate:
            return Skip.NOT_IN_SAMPLE
        if not _has_room(self._intents[candidate.intent], rules.per_intent):
            return Skip.OVER_PER_INTENT
        if not _has_room(self._users[candidate.user_id], rules.per_user):
            return Skip.OVER_PER_USER
        return None


def share(thread_id: str, *, seed: int) -> float:
    """A number from 0 up to 1, evenly spread over ids, always the same for an id and a seed."""
    text = f"{seed}\0{thread_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) / _HASHES


def _has_room(taken: int, limit: int | None) -> bool:
    return limit is None or taken < limit
