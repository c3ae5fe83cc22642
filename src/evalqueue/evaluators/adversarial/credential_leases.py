"""Credential leases: one conversation at a time with each credential, over all jobs and workers.

A bot keeps one session per user, so two conversations with one credential would mix their turns. A
credential is leased in the database before a conversation and released after it. The lease of an
attempt that is over expires a few seconds later. No further lease is granted once the chatbot can't
be reached or refuses every credential.
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

POLL_SECONDS = 1.0  # between tries to lease a credential; less than `store.LEASE_PATIENCE_SECONDS`
UNREACHABLE_STREAK = 5  # cases in a row without a connection, after which no other case begins
REFUSAL_STREAK = 2  # cases in a row that refused a credential, after which it is not used again
_REFUSED_STATUSES = (401, 403)  # HTTP


class ChatbotUnavailable(Exception):
    """The chatbot can't be reached or refuses every credential, so no further case can succeed."""


@dataclass(slots=True, kw_only=True)
class CredentialLease:
    """A credential, and the chatbot that is opened with it."""

    name: str | None
    """Identifies the user and the chatbot, in every job. None: the chatbot has no sessions, so no
    lease is needed."""
    credential: str | None
    chatbot: Chatbot
    refusals: int = 0
    """How many cases in a row were refused."""


class CredentialLeases:
    """The credential leases of one attempt."""

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
        """Lease a credential for the case with this key. Waits until one is free.

        Raises:
            ChatbotUnavailable: no further conversation can succeed.
            YieldSlot: this worker has to yield the slot.
        """
        lease = await self._next()
        try:
            await self._stop_if_asked()
            async with self._leased(lease):
                await self._pace.wait()
                await self._stop_if_asked()
                self._under_way.add(key)
                self._nothing_under_way.clear()
                yield lease
        finally:
            self._give_back(lease)

    def note_ending(self, lease: CredentialLease, fault: ConnectionFault | None) -> None:
        """Note whether a conversation ended because the connection failed."""
        unreachable = fault is not None and fault.fault is Fault.UNREACHABLE
        refused = fault is not None and fault.status in _REFUSED_STATUSES
        self._unreachable = self._unreachable + 1 if unreachable else 0
        lease.refusals = lease.refusals + 1 if refused else 0
        if fault is not None:
            self._last_fault = fault.message

    def note_stored(self, key: str) -> None:
        """Note that a case is finished and its result is stored."""
        self._under_way.discard(key)
        if not self._under_way:
            self._nothing_under_way.set()

    async def _next(self) -> CredentialLease:
        lease = await self._free.get()
        if lease is not None:
            return lease
        self._free.put_nowait(None)  # for the other waiting tasks
        await self._nothing_under_way.wait()
        raise self._unavailable("Every credential was refused")

    def _give_back(self, lease: CredentialLease) -> None:
        if lease.refusals < REFUSAL_STREAK:
            self._free.put_nowait(lease)
            return
        self._in_use -= 1
        if not self._in_use:
            self._free.put_nowait(None)

    async def _stop_if_asked(self) -> None:
        """End this attempt if it should begin no other conversation. Conversations that have begun
        finish first, since no other attempt can continue them."""
        if not (self._is_hopeless or self._is_leaving):
            return
        await self._nothing_under_way.wait()
        if self._is_leaving:
            raise YieldSlot("No further conversation is begun here")
        if self._is_hopeless:
            raise self._unavailable(f"{self._unreachable} cases in a row could not connect")

    @property
    def _is_leaving(self) -> bool:
        return self._context.should_yield or self._context.is_draining

    @property
    def _is_hopeless(self) -> bool:
        return self._unreachable >= UNREACHABLE_STREAK

    def _unavailable(self, what: str) -> ChatbotUnavailable:
        return ChatbotUnavailable(
            f"{what} at {self._target.url} (the last error: {self._last_fault}). The other cases "
            "were not begun. Retry the job when the chatbot is available."
        )

    @asynccontextmanager
    async def _leased(self, lease: CredentialLease) -> AsyncGenerator[None]:
        if lease.name is None:
            yield
            return
        job = self._context.job
        holder = {"credential": lease.name, "job_id": job.id, "attempt": job.attempt}
        # Poll: no notification announces that another job has released the credential.
        while not await self._context.retry_fenced(partial(store.lease_credential, **holder)):
            await asyncio.sleep(POLL_SECONDS)
            await self._stop_if_asked()
        try:
            yield
        finally:
            # Not fenced: other jobs wait for the release, also when this attempt is over.
            release = partial(store.release_credential, **holder)
            database = self._context.database
            what = f"The credential lease of job {job.id}"
            await asyncio.shield(database.until_done(release, what=what))

    def _opened(self, credential: Credential | None) -> CredentialLease:
        chatbot = registry.open_chatbot(self._target, credential, self._app)
        self._open.push_async_callback(chatbot.aclose)
        if credential is None:
            name = self._name("anonymous") if chatbot.has_sessions else None
            return CredentialLease(name=name, credential=None, chatbot=chatbot)
        name = self._name(credential.user_id.casefold())
        return CredentialLease(name=name, credential=credential.name, chatbot=chatbot)

    def _name(self, user: str) -> str:
        # One bot may have several ports on its host, so the port is left out: a lease too few is
        # better than mixed turns. On loopback, the port distinguishes bots.
        target = self._target
        host = f"localhost:{target.port}" if target.reach.is_loopback else target.host
        return sha256(f"{host}/{user}".encode()).hexdigest()


class _Pace:
    """Enforces a minimum delay between the starts of conversations."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turnstile = asyncio.Lock()
        self._next = 0.0

    async def wait(self) -> None:
        async with self._turnstile:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, self._next - now))
            self._next = max(now, self._next) + self._seconds
