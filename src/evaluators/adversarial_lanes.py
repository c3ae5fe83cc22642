"""Lanes: one conversation at a time with each credential, in all jobs and all workers together.

A bot keeps one session per user, so that two conversations with one credential would mix their
turns. A lane is taken in the database before a conversation and left after it; whoever has lost it
with its job finds it free again a moment later. When nobody is at the other end, the lanes close.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from types import TracebackType
from typing import Self

from evalqueue.context import JobContext
from evalqueue.errors import JobFailed, MakesRoom
from evalqueue.evaluators import adversarial_store as store
from evalqueue.evaluators.adversarial.dialogue import LineFault
from evalqueue.evaluators.chatbot import catalogue
from evalqueue.evaluators.chatbot.protocol import Chatbot, Fault
from evalqueue.evaluators.chatbot.targets import Credential, Target, TargetRefused
from evalqueue.evaluators.profiles import Profile

LOOK_SECONDS = 1.0  # between looks at a lane that another job is in
HOPELESS_STREAK = 5  # cases in a row without anybody to talk to, after which none is begun
_NOT_LET_IN = (401, 403)  # HTTP
_STATELESS = ("openai", "scripted")  # protocols in which the bot holds no session


class ChatbotGone(Exception):
    """Nobody answers at the chatbot's address, or lets us in: no further case could fare better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A credential, and the chatbot that is spoken to with it."""

    name: str
    """The same for the same user of the same chatbot, whoever asks."""
    credential: str | None
    chatbot: Chatbot


class Lanes:
    """The lanes of one attempt."""

    def __init__(
        self,
        context: JobContext,
        target: Target,
        profile: Profile,
        credentials: Sequence[Credential],
        *,
        case_delay_seconds: float,
    ) -> None:
        self._context = context
        self._target = target
        self._profile = profile
        self._credentials = credentials or (None,)
        self._free = asyncio.Queue[Lane]()
        self._open = AsyncExitStack()
        self._pace = _Pace(case_delay_seconds)
        self._hopeless = 0
        self._last_word = ""
        self._under_way = set[str]()
        self._nothing_under_way = asyncio.Event()
        self._nothing_under_way.set()

    def __len__(self) -> int:
        return len(self._credentials)

    async def __aenter__(self) -> Self:
        try:
            for credential in self._credentials:
                self._free.put_nowait(self._opened(credential))
        except TargetRefused as error:
            await self._open.aclose()
            raise JobFailed(str(error)) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    @asynccontextmanager
    async def take(self, key: str) -> AsyncGenerator[Lane]:
        """A lane for the case of this key, ours alone; waits for it as long as it takes.

        Raises:
            ChatbotGone: there is no point in beginning another conversation.
            MakesRoom: this worker is to let go.
        """
        lane = await self._free.get()
        try:
            await self._stop_if_told()
            async with self._held(lane):
                await self._pace.wait()
                self._under_way.add(key)
                self._nothing_under_way.clear()
                yield lane
        finally:
            self._free.put_nowait(lane)

    def learn(self, fault: LineFault | None) -> None:
        """How a conversation ended, as far as the line is concerned."""
        nobody = fault is not None and (
            fault.fault is Fault.UNREACHABLE or fault.status in _NOT_LET_IN
        )
        self._hopeless = self._hopeless + 1 if nobody else 0
        self._last_word = fault.message if fault is not None else ""

    def kept(self, key: str) -> None:
        """A case is done with, and its result is stored."""
        self._under_way.discard(key)
        if not self._under_way:
            self._nothing_under_way.set()

    async def _stop_if_told(self) -> None:
        """Begin no other conversation; those that have begun are let finish first: they can't be
        handed over."""
        hopeless = self._hopeless >= HOPELESS_STREAK
        if not (hopeless or self._context.makes_room or self._context.is_draining):
            return
        await self._nothing_under_way.wait()
        if not hopeless:
            raise MakesRoom("No further conversation is begun here")
        raise ChatbotGone(
            f"{self._hopeless} cases in a row found nobody to talk to at {self._target.url} (the "
            f"last one: {self._last_word}): the rest is not begun. Retry the job when it is back."
        )

    @asynccontextmanager
    async def _held(self, lane: Lane) -> AsyncGenerator[None]:
        job = self._context.job
        whose = {"lane": lane.name, "job_id": job.id, "attempt": job.attempt}
        # Others let go of it in their own time, and there is nobody who would say so.
        while not await self._context.insist(partial(store.take_lane, **whose)):  # noqa: ASYNC110  the lane is in another process
            await asyncio.sleep(LOOK_SECONDS)
        try:
            yield
        finally:
            # Not fenced: once this attempt is over, others wait for nothing but this.
            leaving = partial(store.leave_lane, **whose)
            database = self._context.database
            await asyncio.shield(database.until_done(leaving, what=f"Lane of job {job.id}"))

    def _opened(self, credential: Credential | None) -> Lane:
        chatbot = catalogue.open_chatbot(self._target, credential, self._profile)
        self._open.push_async_callback(chatbot.aclose)
        target = self._target
        name = sha256(f"{target.host}:{target.port}/{self._user(credential)}".encode()).hexdigest()
        return Lane(
            name=name, credential=None if credential is None else credential.name, chatbot=chatbot
        )

    def _user(self, credential: Credential | None) -> str:
        if credential is not None:
            return credential.user_id.casefold()
        if self._target.protocol in _STATELESS:
            return f"job {self._context.job.id}"  # nobody else can be in these conversations
        return "anonymous"


class _Pace:
    """Keeps a distance between the starts of conversations."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turnstile = asyncio.Lock()
        self._next = 0.0

    async def wait(self) -> None:
        async with self._turnstile:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, self._next - now))
            self._next = max(now, self._next) + self._seconds
