"""A run that is replayed: its recorded answers are read again, and no vendor is called."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from evalqueue.codec import clean_text
from evalqueue.evaluators.providers.earlier.reuse import (
    AskedModel,
    AskingCaller,
    EarlierAnswer,
    reused,
)
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import (
    PROMPT_LIMIT,
    SYSTEM_PROMPT_LIMIT,
    CallSite,
    Recorder,
)
from evalqueue.evaluators.providers.spans import note_earlier_answer


class AskedQuestion(NamedTuple):
    """What was asked about a thread: by whom, about which turn, and with which texts.

    The model, its parameters and the schema of the answer are no part of it.
    """

    evaluator: str
    turn: int | None
    method: str
    prompt: str
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredQuestion:
    """A question of the run that is replayed, with its answer."""

    question: AskedQuestion
    answer: EarlierAnswer


class ReplayedRun:
    """Answers the calls for one thread from an earlier run, and from nowhere else.

    Each record answers one call, in the order of the record: of several votes on a question, each
    has its own answer. A hit is recorded with the outcome `reused`, without tokens and cost.
    """

    def __init__(
        self,
        caller: AskingCaller,
        answered: Iterable[AnsweredQuestion],
        *,
        replayed: UUID,
        recorder: Recorder,
        run_id: UUID,
    ) -> None:
        """`caller` only says which model is meant."""
        self._caller = caller
        self._left: defaultdict[AskedQuestion, deque[EarlierAnswer]] = defaultdict(deque)
        for each in answered:
            self._left[each.question].append(each.answer)
        self._replayed = replayed
        self._recorder = recorder
        self._run_id = run_id

    def asked(self, request: CompletionRequest) -> AskedModel:
        return self._caller.asked(request)

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        """The recorded answer.

        Raises:
            ProviderError: the run was not asked this.
        """
        question = AskedQuestion(
            evaluator=site.evaluator,
            turn=site.turn,
            method=method,
            prompt=clean_text(request.prompt),
            system=clean_text(request.system),
        )
        # What is too long was not stored whole: a question that only begins alike is another one.
        is_whole = len(request.prompt) < PROMPT_LIMIT and len(request.system) < SYSTEM_PROMPT_LIMIT
        left = self._left.get(question) if is_whole else None
        if not left:
            raise ProviderError(
                CallOutcome.NOT_RECORDED,
                f"The run {self._replayed} has no answer to this question ({method}).",
            )
        answer = left.popleft()
        provider = self.asked(request).provider
        await self._recorder.ready()
        self._recorder.record(reused(answer, request, site, method, provider.name, self._run_id))
        note_earlier_answer(provider, request, site, method, answer.completion, source="reused")
        return answer.completion

    def note_read(self, request: CompletionRequest) -> None:
        """No model is asked."""

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        """No model is asked."""
