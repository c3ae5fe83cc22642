"""Answers that are on record: what was paid for once is not asked again.

When an attempt goes on where another one was cut short, the calls of a thread that has no result
yet are answered from the record as far as it goes. Such an answer takes no slot, asks nobody and is
not recorded a second time: a record is a purchase.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from evalqueue.evaluators.providers.policy import LlmCaller
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite, request_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """An answer as it is on record, and what it answers."""

    request_hash: bytes
    completion: Completion


class Replay:
    """Makes calls like its caller, answering from the record first. Each record answers once."""

    def __init__(self, caller: LlmCaller, recorded: Iterable[RecordedAnswer]) -> None:
        """`recorded`: where the same was asked more than once, in the order of preference."""
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
        left = self._left.get(request_hash(request, site, method, self._caller.provider))
        if left:
            return left.popleft()
        return await self._caller.call(request, site, method)
