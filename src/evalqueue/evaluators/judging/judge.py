"""The judge: a question with a fixed form of answer goes to an LLM, a validated answer comes back.

An answer that can't be read is asked for once more, with what was wrong with it. One that was cut
off is asked for once more, with twice the output tokens, or four times as many if reasoning took
them all. After that it is a failure with a reason, never a verdict.
"""

import asyncio
import json
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any, Generic, Protocol, Self, TypeVar

from evalqueue.errors import leaves
from evalqueue.evaluators.judging import prompts
from evalqueue.evaluators.judging.answers import PARSER_VERSION, A, Form, InvalidAnswer
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.transcript import fence
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite

T = TypeVar("T")

_COMPLAINT_LIMIT = 1_000  # characters
_BAD_ANSWER_LIMIT = 20_000  # characters


class SupportsLlmCalls(Protocol):
    """Makes LLM calls: waits, retries, limits and records as it sees fit."""

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        """Return the completion, or raise ProviderError when there is none to be had."""
        ...

    def note_read(self, request: CompletionRequest) -> None:
        """Note that the answer to a request could be read."""
        ...

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        """Note that it could not be, and why; raise ProviderError if that stops the job."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How a judge is asked; part of every evaluator's version."""

    temperature: float | None = 0.1
    max_output_tokens: int = 4096
    model_settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further parameters in the vendor's own spelling."""
    asked_of: str | None = None
    """The model that is asked, as `provider/model`. None: the job's."""


DEFAULT_PARAMETERS = Parameters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[A]):
    """What is asked of a judge, and the form of the answer."""

    site: CallSite
    text: prompts.Rendered
    form: Form[A]
    parameters: Parameters = DEFAULT_PARAMETERS
    decides: str = "verdict"
    """The field of the answer that votes are counted by."""
    vote: int = 1
    """Which of several votes on the question it asks for."""

    def as_vote(self, number: int) -> Self:
        """The same question, asked once more."""
        return replace(self, vote=number)

    def of_model(self, model: str) -> Self:
        """The same question to another model, `provider/model`."""
        # Further parameters are in the spelling of the job's vendor.
        parameters = replace(self.parameters, asked_of=model, model_settings={})
        return replace(self, parameters=parameters)

    def request(self) -> CompletionRequest:
        return CompletionRequest(
            system=self.text.system,
            prompt=self.text.prompt,
            schema_name=self.site.evaluator,
            schema=self.form.schema,
            temperature=self.parameters.temperature,
            max_output_tokens=self.parameters.max_output_tokens,
            model_settings=self.parameters.model_settings,
            asked_of=self.parameters.asked_of,
            vote=self.vote,
        )


class Judge:
    """Asks an LLM to decide."""

    def __init__(self, calls: SupportsLlmCalls) -> None:
        self._calls = calls

    async def ask(self, question: Question[A]) -> A:
        """The validated answer.

        Raises:
            ProviderError: there is none; `outcome` says why.
        """
        request, site = question.request(), question.site
        first, request = await self._complete(request, site, "generate_json")
        try:
            return self._read(question, request, first)
        except InvalidAnswer as invalid:
            request = _repair(request, first.text, invalid)
        second, request = await self._complete(request, site, "repair")
        try:
            return self._read(question, request, second)
        except InvalidAnswer as invalid:
            if second.is_of_other_job:  # each record is used once, so that this comes to an end
                return await self.ask(question)
            message = f"The judge's answer is invalid, and so is its repair: {invalid}"
            raise ProviderError(
                CallOutcome.SCHEMA_INVALID, message[:_COMPLAINT_LIMIT], answer=second.text
            ) from invalid

    def _read(self, question: Question[A], request: CompletionRequest, found: Completion) -> A:
        """The answer in a completion.

        Raises:
            InvalidAnswer: there is none.
            ProviderError: the model has never given one.
        """
        try:
            answer = question.form.read(found.text)
        except InvalidAnswer as invalid:
            if not found.is_of_other_job:
                self._calls.note_unread(request, question.site, found.text, str(invalid))
            raise
        self._calls.note_read(request)
        return answer

    async def answer(self, question: Question[A]) -> A | Failure:
        """The validated answer, or why this question has none.

        Raises:
            ProviderError: only for what no other question could escape either.
        """
        try:
            return await self.ask(question)
        except ProviderError as error:
            if error.stops_the_job:
                raise
            return Failure(
                evaluator=question.site.evaluator,
                reason=error.outcome,
                message=error.message,
                turn=question.site.turn,
            )

    async def _complete(
        self, request: CompletionRequest, site: CallSite, method: str
    ) -> tuple[Completion, CompletionRequest]:
        """A completion, and the request that got it: a second one if it was cut off."""
        try:
            return await self._calls.call(request, site, method), request
        except ProviderError as error:
            if error.outcome is not CallOutcome.TRUNCATED or error.at_ceiling:
                raise
            limit = error.output_limit or request.max_output_tokens
            limit *= 4 if error.has_only_reasoned(limit) else 2
        request = replace(request, max_output_tokens=limit)
        return await self._calls.call(request, site, method), request


async def concurrently(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of some coroutines, run side by side, in their order.

    The first failure cancels the others. A ProviderError comes out bare instead of inside an
    exception group, so that callers can catch it by its name.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as several:
        stopping, others = several.split(ProviderError)
        if stopping is None or others is not None:
            raise
        raise next(leaves(stopping)) from several
    return [task.result() for task in tasks]


def version_of(prompt: prompts.Prompt, **parts: Any) -> str:
    """The version of an evaluator: readable in front, a hash of all that can change a verdict.

    The model is not in it: only the vendor's answer tells which one it was.
    """
    everything: Mapping[str, Any] = {
        "prompt": prompt.digest,
        "repair": prompts.load("repair").digest,
        "parser": PARSER_VERSION,
        **parts,
    }
    canonical = json.dumps(everything, sort_keys=True, default=_as_json)
    return f"{prompt.version}:{sha256(canonical.encode()).hexdigest()[:12]}"


def _repair(request: CompletionRequest, text: str, invalid: InvalidAnswer) -> CompletionRequest:
    rendered = prompts.load("repair").render(
        system=request.system,
        prompt=request.prompt,
        answer=fence("answer", text[:_BAD_ANSWER_LIMIT]),
        complaint=str(invalid)[:_COMPLAINT_LIMIT],
    )
    return replace(request, system=rendered.system, prompt=rendered.prompt)


def _as_json(value: Any) -> Any:
    return asdict(value)  # the parts are JSON or values: anything else is a TypeError
