"""A chatbot that says what a script says: for trying things out, and for tests."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from evalqueue.evaluators.chatbots.protocol import ChatbotError, Fault, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One thing the bot may say."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    when: str | None = None
    """Said whenever the user's message has these words in it, in whatever case; None: said once, in
    its turn, when no other fits. Words and no pattern: one can't keep a worker busy for hours."""
    say: str = ""
    error: str | None = None
    """What the bot reports as its error."""
    fault: Fault | None = None
    """How the line fails in place of an answer; `say` has come by then."""


class ScriptedChatbot:
    """Answers by the first cue whose words are in the message, or else by the next one without any:
    the last of those again and again."""

    name = "scripted"

    def __init__(self, script: Sequence[Cue]) -> None:
        self._script = tuple(script)

    @asynccontextmanager
    async def chat(self) -> "AsyncGenerator[ScriptedChat]":
        yield ScriptedChat(self._script)

    async def aclose(self) -> None:
        """There is nothing to close."""


class ScriptedChat:
    """One conversation by the script, from its beginning."""

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
