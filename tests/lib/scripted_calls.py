"""A judge that answers from a script, in place of a vendor."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite

Reply = str | dict[str, Any] | ProviderError
Script = Callable[[CompletionRequest, CallSite, str], Reply]


@dataclass
class ScriptedCalls:
    """Answers every call from its script, and records the requests."""

    script: Script
    asked: list[tuple[CompletionRequest, CallSite, str]] = field(default_factory=list)

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        self.asked.append((request, site, method))
        reply = self.script(request, site, method)
        if isinstance(reply, ProviderError):
            raise reply
        text = reply if isinstance(reply, str) else json.dumps(reply)
        return Completion(text=text, model="scripted", latency_ms=0.0)

    def note_read(self, request: CompletionRequest) -> None:
        """Not counted."""

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        """Not counted."""


def scripted_calls(*replies: Reply | Script) -> ScriptedCalls:
    """`scripted_calls(reply, …)` answers in order, `scripted_calls(function)` by the request."""
    if len(replies) == 1 and callable(replies[0]):
        return ScriptedCalls(replies[0])
    left = list(replies)
    return ScriptedCalls(lambda *_: left.pop(0))
