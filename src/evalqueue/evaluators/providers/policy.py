"""The retry policy and the concurrency limit of LLM calls.

The SDKs' own retries are off, so that retries don't multiply. Retries are limited by the number of
attempts, by the call's age, and by the number of equal outcomes in a row. No slot is held while a
call backs off.

Each attempt needs a turn, which comes at the pace of the credential (`turns`). A refusal by a rate
limit is no try: the call waits for its next turn, in its slot. Nor is a failure while the endpoint
answers no call at all: that is not the call's fault.

Before a call is made, what it may use at most is reserved (`reservations`). A retry after a backoff
reserves anew.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType

from evalqueue.evaluators.providers import spans
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest, Provider
from evalqueue.evaluators.providers.readings import Readings
from evalqueue.evaluators.providers.recorder import AttemptLog, CallSite, Recorder
from evalqueue.evaluators.providers.reservations import Reservation, Reservations, Uncapped
from evalqueue.evaluators.providers.turns import CallTurn, Turns, Unpaced, backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """When to give up on a call, and how long to wait before a retry."""

    max_attempts: int = 5
    """Without those that a rate limit refused, and those while the endpoint answered no call."""
    max_unanswered: int = 10
    """Attempts at one call while the endpoint answers none, if it has answered the run before. They
    are made one at a time with growing delays: the call may be what makes the server fail."""
    max_age_seconds: float = 600.0
    """Counted from the start of the first attempt. No attempt starts later."""
    same_outcome_streak: int = 5
    """The number of attempts in a row with the same outcome after which the call fails."""
    ambiguous_threads: int = 3
    """The number of threads that have to meet an error before it stops the job, if it may concern
    every call or only theirs, and no call was answered yet."""
    empty_streak: int = 2
    """The number of answers without a text in a row that one question gets before this may concern
    every call: a single one passes by itself."""
    unreadable_answers: int = 6
    """The number of answers that can't be read after which the job stops, if they are about
    `ambiguous_threads` threads and the model has given no other answers."""
    attempt_timeout_seconds: float = 60.0
    backoff_base_seconds: float = 1.0
    backoff_cap_seconds: float = 60.0


class Slots:
    """A bounded number of concurrent attempts, shared by a whole job."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"at least one attempt at a time must be allowed, not {limit}")
        self.limit = limit
        self.in_use = 0
        self._semaphore = asyncio.Semaphore(limit)

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()
        self.in_use += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.in_use -= 1
        self._semaphore.release()


@dataclass(slots=True, kw_only=True)
class _Tries:
    """The attempts of one call so far."""

    outcomes: list[CallOutcome] = field(default_factory=list[CallOutcome])
    """Of the tries that count."""
    made: int = 0
    """All attempts."""
    unanswered: int = 0
    """Attempts that failed while the endpoint answered no call."""
    started: float | None = None
    """When the first attempt started. The wait for the first slot does not count."""
    waited: float = 0.0
    """Seconds spent waiting for turns since then."""

    def streak(self) -> int:
        """How many attempts in a row ended like the last one."""
        length = 0
        for outcome in reversed(self.outcomes):
            if outcome is not self.outcomes[-1]:
                break
            length += 1
        return length


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked, and how it is sent."""

    request: CompletionRequest
    sent: CompletionRequest
    site: CallSite
    method: str


class _OutputLimit:
    """How many output tokens a model needs whose reasoning takes all that a question allows.

    Once a question was answered with more of them, the later ones are asked with as many at once:
    each would be paid for twice. What is recorded as the question stays what it was.
    """

    def __init__(self) -> None:
        self._too_few = 0
        self._enough = 0

    def raised(self, request: CompletionRequest) -> CompletionRequest:
        """The request with as many as were enough."""
        if request.max_output_tokens > self._too_few or not self._enough:
            return request
        return replace(request, max_output_tokens=self._enough)

    def note_answer(self, request: CompletionRequest) -> None:
        if self._too_few and request.max_output_tokens > self._too_few:
            self._enough = max(self._enough, request.max_output_tokens)

    def note_error(self, request: CompletionRequest, error: ProviderError) -> None:
        """Note whether reasoning took all. If it did so again with more, that may concern every
        call."""
        error.output_limit = request.max_output_tokens
        if not error.has_only_reasoned(request.max_output_tokens):
            return
        if not self._too_few:
            self._too_few = request.max_output_tokens
        error.is_ambiguous |= request.max_output_tokens > self._too_few


class LlmCaller:
    """Calls a provider with a retry policy and a concurrency limit, and records every attempt."""

    def __init__(
        self,
        provider: Provider,
        *,
        slots: Slots,
        recorder: Recorder,
        policy: CallPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
        turns: Turns | None = None,
        reservations: Reservations | None = None,
        others: "Mapping[str, LlmCaller] | None" = None,
    ) -> None:
        """Make a caller.

        Args:
            provider: what is called.
            slots: how many attempts are made at the same time.
            recorder: gets a record of every attempt.
            policy: when to give up.
            sleep: for tests.
            clock: for tests; in seconds.
            uniform: for tests.
            turns: None gives them at once, however many others call with the same credential.
            reservations: None: there is no cap.
            others: the callers of other models that a request can name, by `provider/model`.
        """
        self.provider = provider
        self.policy = policy or CallPolicy()
        self.tripped: ProviderError | None = None
        """The error that every later call would get. Once it is set, no more calls are made."""
        self.served_model: str | None = None
        """The model that answered last, as the vendor names it."""
        self._has_been_answered = False
        self._output_limit = _OutputLimit()
        self._readings = Readings(
            answers=self.policy.unreadable_answers, threads=self.policy.ambiguous_threads
        )
        self._ambiguous: set[str | None] = set()
        """Threads whose calls met an error that may concern every call."""
        self._turns = turns or Unpaced(
            sleep=sleep,
            uniform=uniform,
            backoff_base_seconds=self.policy.backoff_base_seconds,
            backoff_cap_seconds=self.policy.backoff_cap_seconds,
        )
        self.reservations = reservations or Uncapped()
        self._others = others or {}
        self._slots = slots
        self._recorder = recorder
        self._sleep = sleep
        self._clock = clock
        self._uniform = uniform

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        """Call the provider, and retry as the policy allows.

        Raises:
            ProviderError: there is no answer; the last attempt's error.
        """
        if (asked := self.asked(request)) is not self:
            return await asked.call(replace(request, asked_of=None), site, method)
        tries = _Tries()
        self._refuse_if_tripped()
        while True:
            try:
                return await self._in_a_slot(request, site, method, tries)
            except ProviderError as error:
                delay = self._delay(error, tries)
                if not _worth_asking_again(error) or self._gives_up(tries, delay):
                    raise
            await self._sleep(delay)

    def note_read(self, request: CompletionRequest | None = None) -> None:
        """Note that an answer could be read. Without its request: one of an earlier attempt."""
        asked = self if request is None else self.asked(request)
        asked._readings.note_read()

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        """Note that an answer could not be read, and why.

        Raises:
            ProviderError: the model has given no other answers, which stops the job.
        """
        asked = self.asked(request)
        model = f"{asked.provider.name}/{asked.provider.model}"
        try:
            asked._readings.note_unread(site.thread_id or site.label, model, answer, fault)
        except ProviderError as error:
            asked.tripped = asked.tripped or error
            raise

    async def _in_a_slot(
        self, request: CompletionRequest, site: CallSite, method: str, tries: _Tries
    ) -> Completion:
        async with self._slots:
            # Checked inside the slot: the error may have occurred while this call waited.
            self._refuse_if_tripped()
            call = _Call(request, self._output_limit.raised(request), site, method)
            reservation = await self.reservations.reserve(call.sent)
            try:
                return await self._until_admitted(call, tries, reservation)
            finally:
                reservation.release()

    def asked(self, request: CompletionRequest) -> "LlmCaller":
        """The caller of the model that a request names; without one, this one."""
        return self if request.asked_of is None else self._others[request.asked_of]

    def _refuse_if_tripped(self) -> None:
        if self.tripped is not None:
            # A new error each time: one shared by many tasks would collect their tracebacks.
            raised = ProviderError(self.tripped.outcome, self.tripped.message)
            raised.stops_the_job = True
            raise raised from self.tripped

    async def _until_admitted(
        self, call: _Call, tries: _Tries, reservation: Reservation
    ) -> Completion:
        """Make attempts until one is not refused by a rate limit."""
        refused: ProviderError | None = None
        refusals = 0
        while True:
            await self._recorder.ready()
            turn = await self._turn(call.sent, tries, refused, refusals)
            try:
                if not self._recorder.is_ready:  # any more: a turn may be waited for for long
                    continue
                self._refuse_if_tripped()
                return await self._attempt(call, tries, turn, reservation)
            except ProviderError as error:
                if error.outcome is not CallOutcome.RATE_LIMITED:
                    raise
                refused, refusals = error, refusals + 1
            finally:
                turn.end(None)  # unless it has ended

    async def _turn(
        self,
        request: CompletionRequest,
        tries: _Tries,
        refused: ProviderError | None,
        refusals: int,
    ) -> CallTurn:
        began = self._clock()
        characters = len(request.system) + len(request.prompt)
        try:
            turn = await self._turns.take(characters, refused=refused, refusals=refusals)
        except ProviderError as error:
            if error.stops_the_job and self.tripped is None:
                self.tripped = error
            raise
        if tries.started is not None:
            tries.waited += self._clock() - began
        return turn

    async def _attempt(
        self, call: _Call, tries: _Tries, turn: CallTurn, reservation: Reservation
    ) -> Completion:
        started = self._clock()
        if tries.started is None:
            tries.started = started
        tries.made += 1
        log = AttemptLog(self.provider, call.request, call.site, call.method, try_number=tries.made)
        try:
            completion = await self._completed(call, tries)
        except ProviderError as error:
            turn.end(error)
            if error.outcome is not CallOutcome.RATE_LIMITED:
                reservation.settle(error)
            self._output_limit.note_error(call.sent, error)
            self._note(error, started, tries, call.site)
            self._recorder.record(log.failed(error))
            raise
        except asyncio.CancelledError:
            reservation.settle(None)
            self._recorder.record(log.cancelled())
            raise
        turn.end(completion)
        reservation.settle(completion)
        self._has_been_answered = True
        self._output_limit.note_answer(call.sent)
        self.served_model = completion.model
        self._recorder.record(log.answered(completion))
        return completion

    async def _completed(self, call: _Call, tries: _Tries) -> Completion:
        with spans.attempt(
            self.provider, call.sent, call.site, call.method, try_number=tries.made
        ) as traced:
            try:
                completion = await self.provider.complete(
                    call.sent, timeout=self.policy.attempt_timeout_seconds
                )
            except ProviderError as error:
                traced.failed(error)
                raise
            traced.answered(completion)
            return completion

    def _note(self, error: ProviderError, started: float, tries: _Tries, site: CallSite) -> None:
        """Count a try, and decide whether the job has to stop."""
        if error.outcome is CallOutcome.RATE_LIMITED:
            return
        is_outage = error.outcome.retryable and not error.is_billed
        if is_outage and not self._turns.answered_since(started):
            tries.unanswered += 1
        else:
            tries.outcomes.append(error.outcome)
        error.is_ambiguous |= error.is_billed and tries.streak() >= self.policy.empty_streak
        if error.is_ambiguous and not self._has_been_answered:
            self._ambiguous.add(site.thread_id or site.label)
            error.stops_the_job = len(self._ambiguous) >= self.policy.ambiguous_threads
        if error.stops_the_job and self.tripped is None:
            self.tripped = error

    def _delay(self, error: ProviderError, tries: _Tries) -> float:
        """The delay before a retry: backoff, after the delay that the vendor requests."""
        delay = backoff(
            max(1, len(tries.outcomes)),
            self.policy.backoff_base_seconds,
            self.policy.backoff_cap_seconds,
            self._uniform,
        )
        return delay + (error.retry_after or 0.0)

    def _gives_up(self, tries: _Tries, delay: float) -> bool:
        if self._has_been_answered and tries.unanswered >= self.policy.max_unanswered:
            return True
        if not tries.outcomes:
            return False
        started = self._clock() if tries.started is None else tries.started
        age_at_next_attempt = self._clock() - started - tries.waited + delay
        return (
            len(tries.outcomes) >= self.policy.max_attempts
            or tries.streak() >= self.policy.same_outcome_streak
            or age_at_next_attempt > self.policy.max_age_seconds
        )


def _worth_asking_again(error: ProviderError) -> bool:
    return error.outcome.retryable and not error.stops_the_job
