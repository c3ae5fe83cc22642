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
from evalqueue.errors import JobFailed, YieldSlot
from evalqueue.evaluators.adversarial import store
from evalqueue.evaluators.adversarial.dialogue import ConnectionFault
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.chatbots import registry
from evalqueue.evaluators.chatbots.protocol import Chatbot, Fault
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused

POLL_SECONDS = 1.0  # between looks at a lane that another job is in; under the store's patience
UNREACHABLE_STREAK = 5  # cases in a row that reached nobody, after which none is begun
REFUSAL_STREAK = 2  # cases in a row that a credential was not let in with, after which it rests
_REFUSED_STATUSES = (401, 403)  # HTTP
_STATELESS = ("openai", "scripted")  # protocols in which the bot holds no session


class ChatbotGone(Exception):
    """Nobody answers at the chatbot's address, or lets us in: no further case could fare better."""


@dataclass(slots=True, kw_only=True)
class CredentialLease:
    """A credential, and the chatbot that is spoken to with it."""

    name: str | None
    """The same for the same user of the same chatbot, whoever asks; None: nobody else can be in
    these conversations."""
    credential: str | None
    chatbot: Chatbot
    refusals: int = 0
    """How many times in a row we were not let in."""


class CredentialLeases:
    """The lanes of one attempt."""

    def __init__(
        self,
        context: JobContext,
        target: Target,
        app: App,
        credentials: Sequence[Credential],
        *,
        case_delay_seconds: float,
    ) -> None:
        self._context = context
        self._target = target
        self._app = app
        self._credentials = credentials or (None,)
        self._in_use = len(self._credentials)
        self._free = asyncio.Queue[CredentialLease | None]()
        self._open = AsyncExitStack()
        self._pace = _Pace(case_delay_seconds)
        self._unreachable = 0
        self._last_fault = ""
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
    async def take(self, key: str) -> AsyncGenerator[CredentialLease]:
        """A lane for the case of this key, ours alone; waits for it as long as it takes.

        Raises:
            ChatbotGone: there is no point in beginning another conversation.
            YieldSlot: this worker is to let go.
        """
        lane = await self._next()
        try:
            await self._stop_if_asked()
            async with self._leased(lane):
                await self._pace.wait()
                await self._stop_if_asked()
                self._under_way.add(key)
                self._nothing_under_way.clear()
                yield lane
        finally:
            self._give_back(lane)

    def note_ending(self, lane: CredentialLease, fault: ConnectionFault | None) -> None:
        """How a conversation ended, as far as the line is concerned."""
        unreachable = fault is not None and fault.fault is Fault.UNREACHABLE
        refused = fault is not None and fault.status in _REFUSED_STATUSES
        self._unreachable = self._unreachable + 1 if unreachable else 0
        lane.refusals = lane.refusals + 1 if refused else 0
        if fault is not None:
            self._last_fault = fault.message

    def note_stored(self, key: str) -> None:
        """A case is done with, and its result is stored."""
        self._under_way.discard(key)
        if not self._under_way:
            self._nothing_under_way.set()

    async def _next(self) -> CredentialLease:
        lane = await self._free.get()
        if lane is not None:
            return lane
        self._free.put_nowait(None)  # for whoever else waits
        await self._nothing_under_way.wait()
        raise self._gone("No credential is let in")

    def _give_back(self, lane: CredentialLease) -> None:
        if lane.refusals < REFUSAL_STREAK:
            self._free.put_nowait(lane)
            return
        self._in_use -= 1
        if not self._in_use:
            self._free.put_nowait(None)

    async def _stop_if_asked(self) -> None:
        """Begin no other conversation; those that have begun are let finish first: they can't be
        handed over."""
        if not (self._is_hopeless or self._is_leaving):
            return
        await self._nothing_under_way.wait()
        if self._is_leaving:
            raise YieldSlot("No further conversation is begun here")
        if self._is_hopeless:
            raise self._gone(f"{self._unreachable} cases in a row found nobody to talk to")

    @property
    def _is_leaving(self) -> bool:
        return self._context.should_yield or self._context.is_draining

    @property
    def _is_hopeless(self) -> bool:
        return self._unreachable >= UNREACHABLE_STREAK

    def _gone(self, what: str) -> ChatbotGone:
        return ChatbotGone(
            f"{what} at {self._target.url} (the last one: {self._last_fault}): the rest is not "
            "begun. Retry the job when that is mended."
        )

    @asynccontextmanager
    async def _leased(self, lane: CredentialLease) -> AsyncGenerator[None]:
        if lane.name is None:
            yield
            return
        job = self._context.job
        whose = {"lane": lane.name, "job_id": job.id, "attempt": job.attempt}
        # Others let go of it in their own time, and there is nobody who would say so.
        while not await self._context.retry_fenced(partial(store.lease_credential, **whose)):
            await asyncio.sleep(POLL_SECONDS)
            await self._stop_if_asked()
        try:
            yield
        finally:
            # Not fenced: once this attempt is over, others wait for nothing but this.
            leaving = partial(store.release_credential, **whose)
            database = self._context.database
            await asyncio.shield(database.until_done(leaving, what=f"Lane of job {job.id}"))

    def _opened(self, credential: Credential | None) -> CredentialLease:
        chatbot = registry.open_chatbot(self._target, credential, self._app)
        self._open.push_async_callback(chatbot.aclose)
        if credential is None:
            shared = self._target.protocol not in _STATELESS
            return CredentialLease(
                name=self._name("anonymous") if shared else None, credential=None, chatbot=chatbot
            )
        name = self._name(credential.user_id.casefold())
        return CredentialLease(name=name, credential=credential.name, chatbot=chatbot)

    def _name(self, user: str) -> str:
        # A host has several names and ports for the same bot: better one lane too few. On loopback,
        # it is the port that tells bots apart.
        target = self._target
        host = f"localhost:{target.port}" if target.reach.is_loopback else target.host
        return sha256(f"{host}/{user}".encode()).hexdigest()


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
