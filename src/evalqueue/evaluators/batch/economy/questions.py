"""The caller of economy mode: it queues questions instead of asking them.

A question that is queued ends in `AnswerPending`, which an evaluator takes for a failure like any
other. So it goes on, and all questions of a conversation that do not depend on others are queued in
one visit. What it found is discarded: `is_waiting` says so.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from evalqueue.evaluators.providers.earlier.reuse import AskedModel
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Usage
from evalqueue.evaluators.providers.recorder import CallSite, request_hash

_ASKED_LIVE = frozenset({
    CallOutcome.OK,  # its answer could not be recorded as it came
    CallOutcome.RATE_LIMITED, CallOutcome.TRANSIENT, CallOutcome.TIMEOUT,
    CallOutcome.AUTH, CallOutcome.BILLING, CallOutcome.MODEL_MISSING,
})  # fmt: skip
"""Outcomes after which a question may be asked again. The others would come again."""
_LOST = "the answer can't be recorded as it came"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQuestion:
    """A question that is asked by a batch."""

    request_hash: bytes
    request: CompletionRequest
    site: CallSite
    method: str

    def dumped(self) -> str:
        """As JSON: in ASCII, which holds every string, and in its order."""
        parts = {
            "request": asdict(self.request), "site": asdict(self.site), "method": self.method
        }  # fmt: skip
        return json.dumps(parts)

    @classmethod
    def of(cls, request_hash: bytes, stored: Mapping[str, Any]) -> "BatchQuestion":
        return cls(
            request_hash=request_hash,
            request=CompletionRequest(**stored["request"]),
            site=CallSite(**stored["site"]),
            method=stored["method"],
        )


class QuestionFailure(TypedDict):
    """Why a question has no answer, as it is stored."""

    message: str
    answer: str | None
    usage: dict[str, int | None]
    is_final: bool
    """It was asked live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownQuestion:
    """A question that was queued before."""

    outcome: CallOutcome | None
    """None: it has none yet."""
    is_live: bool = False
    """Whether it is asked outside of batches."""
    failure: QuestionFailure | None = None

    @property
    def is_final(self) -> bool:
        """Whether it was asked live in vain, too."""
        return bool(self.failure and self.failure.get("is_final"))

    def error(self) -> ProviderError:
        """Why it has no answer."""
        outcome = self.outcome or CallOutcome.TRANSIENT
        if self.failure is None:
            return ProviderError(outcome, _LOST)
        return ProviderError(
            outcome,
            self.failure["message"] or _LOST,
            answer=self.failure["answer"],
            usage=Usage(**self.failure["usage"]),
        )


def failure_of(error: ProviderError, *, is_final: bool = False) -> QuestionFailure:
    """What is stored of a question's error. `is_final`: it was asked live."""
    return {
        "message": error.message,
        "answer": error.answer,
        "usage": asdict(error.usage),
        "is_final": is_final,
    }


class AnswerPending(ProviderError):
    """The question is in a batch, or will be."""

    def __init__(self) -> None:
        super().__init__(CallOutcome.CANCELLED, "its answer is not there yet")


class EconomyCaller:
    """Makes the calls for one conversation. Recorded answers are looked up before it is asked."""

    def __init__(
        self, live: LlmCaller, known: Mapping[bytes, KnownQuestion], *, asks_live: bool
    ) -> None:
        """`asks_live`: whether a question that a batch did not answer is asked live."""
        self._live = live
        self._known = known
        self._asks_live = asks_live
        self.new_questions: dict[bytes, BatchQuestion] = {}
        """By request hash."""
        self.is_waiting = False
        """Whether an answer is pending, so that what an evaluator found does not count."""
        self.failed_live: dict[bytes, ProviderError] = {}
        """Questions that were asked live in vain: a later visit does not ask them again."""

    def asked(self, request: CompletionRequest) -> AskedModel:
        return self._live.asked(request)

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        """Queue a question, or ask it live if no batch answered it.

        Raises:
            AnswerPending: the answer comes later.
            ProviderError: there is none.
        """
        key = request_hash(request, site, method, self.asked(request).provider)
        known = self._known.get(key)
        if known is None or (known.outcome is None and not known.is_live):
            self.is_waiting = True
            if known is None:
                self.new_questions[key] = BatchQuestion(
                    request_hash=key, request=request, site=site, method=method
                )
            raise AnswerPending
        is_asked = known.is_live or (self._asks_live and known.outcome in _ASKED_LIVE)
        if known.is_final or not is_asked:
            raise known.error()
        try:
            return await self._live.call(request, site, method)
        except ProviderError as error:
            if not error.stops_the_job:
                self.failed_live[key] = error
            raise

    def note_read(self, request: CompletionRequest) -> None:
        self._live.note_read(request)

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        self._live.note_unread(request, site, answer, fault)
