"""A chatbot that answers from a script: for trying things out, and for tests."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from evalqueue.evaluators.chatbots.protocol import Chatbot, ChatbotError, Fault, Reply

if TYPE_CHECKING:
    from evalqueue.evaluators.apps import App
    from evalqueue.evaluators.chatbots.targets import Credential, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One answer of the bot."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    when: str | None = None
    """The answer is used whenever the user's message contains these words, ignoring case. None: it
    is used once, in order, when no other cue matches. Patterns are not supported, since one could
    keep a worker busy for hours."""
    say: str = ""
    error: str | None = None
    """The error that the bot reports."""
    fault: Fault | None = None
    """How the connection fails, after the text of `say` was received."""


class ScriptedChatbot:
    """Answers with the first cue whose words are in the message, else with the next cue without
    words. The last of those is repeated."""

    name = "scripted"
    has_sessions = False

    def __init__(self, script: Sequence[Cue]) -> None:
        self._script = tuple(script)

    @asynccontextmanager
    async def chat(self) -> "AsyncGenerator[ScriptedChat]":
        yield ScriptedChat(self._script)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


class ScriptedChat:
    """One conversation, which follows the script from its beginning."""

    def __init__(self, script: Sequence[Cue]) -> None:
        self._answers = [cue for cue in script if cue.when is not None]
        self._lines = [cue for cue in script if cue.when is None]
        self._turn = 0

    async def say(self, text: str) -> Reply:
        cue = self._cue(text.casefold())
        if cue.fault is not None:
            raise ChatbotError(cue.fault, f"The script says: {cue.fault}.", partial=cue.say)
        return Reply(text=cue.say, error=cue.error)

    def _cue(self, text: str) -> Cue:
        for cue in self._answers:
            if cue.when is not None and cue.when.casefold() in text:
                return cue
        if not self._lines:
            return Cue()
        self._turn += 1
        return self._lines[min(self._turn, len(self._lines)) - 1]


def open_chatbot(target: "Target", credential: "Credential | None", app: "App") -> Chatbot:
    return ScriptedChatbot(target.script)
