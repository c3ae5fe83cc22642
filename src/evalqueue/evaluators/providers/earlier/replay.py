"""Recorded answers: a call that was paid for is not repeated.

When an attempt continues an interrupted one, the calls of a thread without a result are answered
from the record where possible. Such an answer needs no slot and no vendor, and is not recorded
again: each record is one billed call.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from evalqueue.evaluators.providers.earlier.replayed_run import ReplayedRun
from evalqueue.evaluators.providers.earlier.reuse import AskingCaller, Reuse
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite, request_hash
from evalqueue.evaluators.providers.spans import note_earlier_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """A recorded answer, and the key of its call."""

    request_hash: bytes
    completion: Completion


class Replay:
    """Answers calls from the record first, else by its caller. Each record is used once."""

    def __init__(
        self, caller: AskingCaller | Reuse | ReplayedRun, recorded: Iterable[RecordedAnswer]
    ) -> None:
        """`recorded` is in order of preference, for calls that were made more than once."""
        self._caller = caller
        self._left: defaultdict[bytes, deque[Completion]] = defaultdict(deque)
        for each in recorded:
            self._left[each.request_hash].append(each.completion)

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        """The recorded answer, or a new one.

        Raises:
            ProviderError: there is no answer; the last attempt's error.
        """
        if self._left:
            provider = self._caller.asked(request).provider
            left = self._left.get(request_hash(request, site, method, provider))
            if left:
                completion = left.popleft()
                note_earlier_answer(provider, request, site, method, completion, source="replayed")
                return completion
        return await self._caller.call(request, site, method)

    def note_read(self, request: CompletionRequest) -> None:
        self._caller.note_read(request)

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        self._caller.note_unread(request, site, answer, fault)
