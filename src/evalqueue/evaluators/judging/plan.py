"""What is asked of every conversation of a run, and how an evaluator is registered for it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.conversation import TurnData
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.judge import DEFAULT_PARAMETERS, Parameters
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """What is asked of every conversation of a run."""

    app: App
    evaluators: tuple[str, ...] | None = None
    """Those that are wanted, by name; None: all there are."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The params of evaluators, by their names in the job."""
    parameters: Parameters = DEFAULT_PARAMETERS
    votes: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often each question of an evaluator is asked, by its name, where the job says so."""
    second_model: str | None = None
    """The model that is asked, too, where votes differ, as `provider/model`."""
    panel: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    """The weights of the models that vote on each question, as `provider/model`."""
    model: str | None = None
    """The job's own, where there is a panel that it may be named in. None: it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """How many LLM calls an evaluator makes, if none has to be repeated."""

    per_thread: int = 0
    per_turn: int = 0
    for_answer: Callable[[str], bool] | None = None
    """Whether it makes one for a turn with this answer of the bot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorType:
    """An evaluator as it is registered: what it declares, and how it is made for a run."""

    declaration: EvaluatorDeclaration
    make: Callable[[EvaluationPlan], Evaluator]
    calls: Callable[[EvaluationPlan], CallCounts] = field(default=lambda _plan: CallCounts())
    applies_to: Callable[[App], bool] = field(default=lambda _app: True)
    """Whether it can say anything about an app."""
    needs: str = ""
    """What an app must have so that it applies."""
    data: Callable[[App], Sequence[AbstractSet[TurnData]]] = field(default=lambda _app: ())
    """What it needs of the data: one turn with all of one of these. Empty: what all data have."""
    scope: str | None = None
    """The rules of an app that it asks about."""
    menu: Callable[[EvaluationPlan], Sequence[str]] = field(default=lambda _plan: ())
    """The labels that are compared with the labels on record. Empty: none are."""
    problems: Callable[[EvaluationPlan], Mapping[str, str]] = field(
        default=lambda _plan: dict[str, str]()
    )
    """What is wrong with its params in this plan, by param."""
    switch: str | None = None
    """The param of the job that turns it off."""
    is_optional: bool = False
    """Whether it is left out where it can't say anything, unless a job names it."""
    on_request: bool = False
    """Whether it is used only where a job names it in `evaluators`."""
    has_votes: bool = False
    """Whether its questions can be asked several times: they say what they decide on
    (`Question.decides`)."""
    votes: int = 1
    """How often they are asked, where the job does not say."""
    model: str | None = None
    """The model that is asked, as `provider/model`. None: the job's."""
    success_rank: int | None = None
    """Of those that say whether a conversation was a success, the lowest decides; None: never."""

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def calls_llm(self) -> bool:
        return self.declaration.calls_llm

    def votes_in(self, plan: EvaluationPlan) -> int:
        """How often each of its questions is asked."""
        return plan.votes.get(self.name, self.votes)

    def is_on(self, wanted: Collection[str] | None, options: Mapping[str, Any]) -> bool:
        """Whether it is neither left out of those that are named nor switched off."""
        switched_on = self.switch is None or bool(options.get(self.switch, True))
        return switched_on and (not self.on_request if wanted is None else self.name in wanted)
