"""Answers of earlier runs: an identical question is not asked again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid5

from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Provider, Usage
from evalqueue.evaluators.providers.recorder import (
    PROMPT_LIMIT,
    SYSTEM_PROMPT_LIMIT,
    CallRecord,
    CallSite,
    Recorder,
    question_hash,
)
from evalqueue.evaluators.providers.spans import note_earlier_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierAnswer:
    """An answer that an earlier run was given."""

    call_id: UUID
    completion: Completion


class AskedModel(Protocol):
    """The model that a call goes to."""

    @property
    def provider(self) -> Provider: ...

    @property
    def served_model(self) -> str | None:
        """The model that answered last, as the vendor names it."""
        ...


class AskingCaller(Protocol):
    """Makes the calls that no earlier answer makes needless."""

    def asked(self, request: CompletionRequest) -> AskedModel:
        """The model that a request goes to."""
        ...

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion: ...

    def note_read(self, request: CompletionRequest) -> None: ...

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None: ...


class Reuse:
    """Answers the calls for one thread from earlier runs where possible, else by its caller.

    Each record answers one call of the thread: where it asks the same question twice, one answer
    does not count twice. A hit is recorded with the outcome `reused`, without tokens and cost.
    """

    def __init__(
        self,
        caller: AskingCaller,
        find: Callable[[bytes], Awaitable[Sequence[EarlierAnswer]]],
        *,
        recorder: Recorder,
        run_id: UUID,
    ) -> None:
        """`find` returns the answers to a question, in order of preference."""
        self._caller = caller
        self._find = find
        self._recorder = recorder
        self._run_id = run_id
        self._used: set[UUID] = set()

    def asked(self, request: CompletionRequest) -> AskedModel:
        return self._caller.asked(request)

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        """An earlier answer, or a new one.

        Raises:
            ProviderError: there is no answer; the last attempt's error.
        """
        asked = self.asked(request)
        for each in await self._find(question_hash(request, method, asked.provider)):
            # The name of a model may stand for another one than it did.
            served = asked.served_model
            if each.call_id not in self._used and served in (None, each.completion.model):
                self._used.add(each.call_id)
                await self._recorder.ready()
                self._recorder.record(
                    reused(each, request, site, method, asked.provider.name, self._run_id)
                )
                note_earlier_answer(
                    asked.provider, request, site, method, each.completion, source="reused"
                )
                return replace(each.completion, is_of_other_job=True)
        return await self._caller.call(request, site, method)

    def note_read(self, request: CompletionRequest) -> None:
        self._caller.note_read(request)

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        self._caller.note_unread(request, site, answer, fault)


def reused(
    answer: EarlierAnswer,
    request: CompletionRequest,
    site: CallSite,
    method: str,
    provider: str,
    run_id: UUID,
) -> CallRecord:
    """The record of a call of a run that was not made, but answered by an earlier run."""
    return CallRecord(
        site=site,
        provider=provider,
        model=answer.completion.model,
        method=method,
        outcome=CallOutcome.REUSED,
        try_number=1,
        prompt=request.prompt[:PROMPT_LIMIT],
        system_prompt=request.system[:SYSTEM_PROMPT_LIMIT],
        response=answer.completion.text,
        error=None,
        started_at=datetime.now(UTC),
        duration_ms=0.0,
        usage=Usage(),
        request_id=answer.completion.request_id,
        # The same each time: an attempt that does a thread anew counts no hit twice.
        call_id=uuid5(run_id, str(answer.call_id)),
    )
