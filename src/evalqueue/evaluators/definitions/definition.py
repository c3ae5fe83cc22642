"""The definition of an evaluator, as it is written in a document.

An app has definitions of its own, and uses those of the catalogue. A definition is data: its prompt
has variables that are filled in, and nothing in it is executed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from evalqueue.evaluators.definitions.closed import ClosedPart

Verdict = bool | float | str
"""Yes or no, a number, or a label."""


class JudgedUnit(StrEnum):
    """What one verdict is about."""

    TURN = "turn"
    CONVERSATION = "conversation"
    PAIR = "pair"
    """Two answers to the same messages."""


class TurnPart(StrEnum):
    """A part of a turn that a judge can be shown."""

    USER = "user"
    BOT = "bot"
    SYSTEM = "system"
    CONTEXT = "context"
    TOOLS = "tools"
    ERRORS = "errors"
    TIMES = "times"


class Choice(StrEnum):
    """What a verdict on two answers can be."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


class OutputKind(StrEnum):
    """What kind of verdict is asked for."""

    CATEGORY = "category"
    NUMBER = "number"
    BOOLEAN = "boolean"


class LongConversations(StrEnum):
    """What counts of a conversation that is longer than the judge's context.

    It is judged in parts, each by itself. Neutral labels count only if no part has another one.
    """

    NO_VERDICT = "no_verdict"
    """It is not judged."""
    WORST = "worst"
    """The worst part: whether something bad happens anywhere."""
    BEST = "best"
    """The best part: whether something good happens anywhere."""
    LAST = "last"
    """The last part: how it ends."""
    MEAN = "mean"
    """The mean of the parts, of numbers: each weighs as much as it has turns."""


def _described(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLabel(ClosedPart):
    """A label that a judge can choose; a text alone is its name."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(ClosedPart):
    """What a verdict can be."""

    kind: OutputKind
    description: str = ""
    """What it means, for the judge."""
    labels: tuple[Annotated[OutputLabel, BeforeValidator(_described)], ...] = ()
    """Of a category, in the order in which they are shown."""
    ordered: bool = False
    """Of a category: whether the labels are listed from the best to the worst."""
    good: tuple[str, ...] = ()
    """The best first."""
    bad: tuple[str, ...] = ()
    """The worst first."""
    neutral: tuple[str, ...] = ()
    """Neither well nor badly done."""
    minimum: float | None = None
    maximum: float | None = None
    higher_is_better: bool = True
    """Of a number; of a boolean: whether true is good."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @property
    def is_ranked(self) -> bool:
        """Whether one verdict can be worse than another."""
        is_category = self.kind is OutputKind.CATEGORY
        return not is_category or bool(self.ordered or self.good or self.bad)

    @property
    def from_best_to_worst(self) -> list[str]:
        """The labels, neutral ones first."""
        names = [name for name in self.label_names if name not in self.neutral]
        if not self.ordered:
            others = [name for name in names if name not in {*self.good, *self.bad}]
            names = [*self.good, *others, *reversed(self.bad)]
        return [*self.neutral, *names]

    def badness(self, verdict: Verdict) -> float:
        """The more, the worse. Only verdicts of one output that is ranked can be compared."""
        if isinstance(verdict, str):
            return self.from_best_to_worst.index(verdict)
        return -float(verdict) if self.higher_is_better else float(verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliesWhen(ClosedPart):
    """What a turn must have to be judged; of a conversation, one of its turns.

    What does not have it costs no LLM call, and is not measured.
    """

    has: tuple[TurnPart, ...] = ()
    """Parts that must be recorded."""
    bot_says: tuple[str, ...] = ()
    """Lower case. The bot's answer must have one of them."""
    user_says: tuple[str, ...] = ()
    """Likewise."""
    intents: tuple[str, ...] = ()
    """The intent on record must be one of them."""
    min_turns: int = 1
    """Turns of the conversation, for a turn: up to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRule(ClosedPart):
    """A rule that only this evaluator asks about."""

    rule_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleToolCall(ClosedPart):
    name: str
    arguments: str = ""
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleTurn(ClosedPart):
    """A turn of an invented conversation."""

    user: str
    bot: str
    alternative: str | None = None
    """Of scope pair: the second answer."""
    system: str | None = None
    context: str | None = None
    tool_calls: tuple[ExampleToolCall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(ClosedPart):
    """A short conversation with the right verdict on it, or on its last turn."""

    turns: tuple[ExampleTurn, ...]
    verdict: Verdict
    reasoning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeParameters(ClosedPart):
    """How the judge is asked. None: as the job says."""

    temperature: float | None = None
    max_output_tokens: int | None = None
    model: str | None = None
    """The model that is asked, as `provider/model`."""
    votes: int | None = None
    """How often each question is asked; the majority decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorDefinition(ClosedPart):
    """An evaluator as data."""

    name: str
    prompt: str
    """The criterion. `{{transcript}}` and other variables are filled in."""
    output: Output
    title: str = ""
    question: str = ""
    """What it asks, in a sentence for people."""
    source: str = ""
    """Where the criterion comes from."""
    scope: JudgedUnit = JudgedUnit.CONVERSATION
    shows: tuple[TurnPart, ...] = (
        TurnPart.USER,
        TurnPart.BOT,
        TurnPart.SYSTEM,
        TurnPart.CONTEXT,
        TurnPart.TOOLS,
    )
    """The parts of the conversation that the judge sees."""
    context_turns: int = 4
    """Of scope turn: how many turns before it are shown; fewer, if they are too long."""
    long_conversations: LongConversations = LongConversations.NO_VERDICT
    """Of scope conversation. Which part decides follows from what is asked, so that none is the
    usual one."""
    applies_when: AppliesWhen = AppliesWhen()
    rules: tuple[CheckedRule, ...] = ()
    examples: tuple[Example, ...] = ()
    """Shown to the judge."""
    gold: tuple[Example, ...] = ()
    """Never shown to the judge: they test it."""
    parameters: JudgeParameters = JudgeParameters()

    @property
    def shown_title(self) -> str:
        return self.title or self.name.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueUse(ClosedPart):
    """An evaluator of the catalogue, with what an app changes about it. None: as it is there."""

    use: str
    name: str | None = None
    title: str | None = None
    shows: tuple[TurnPart, ...] | None = None
    context_turns: int | None = None
    long_conversations: LongConversations | None = None
    applies_when: AppliesWhen | None = None
    rules: tuple[CheckedRule, ...] | None = None
    examples: tuple[Example, ...] | None = None
    parameters: JudgeParameters | None = None

    def changed(self, definition: EvaluatorDefinition) -> EvaluatorDefinition:
        """The definition with these changes."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "use"}
        return replace(
            definition, **{name: value for name, value in given.items() if value is not None}
        )


ENTRY_TAGS: Mapping[str, type[Any]] = {
    "(a definition)": EvaluatorDefinition,
    "(of the catalogue)": CatalogueUse,
}
"""What pydantic puts into the path of a mistake, to say which of the two was read."""
_DEFINITION, _USE = ENTRY_TAGS


def _tag(value: Any) -> str:
    is_use = "use" in value if isinstance(value, dict) else isinstance(value, CatalogueUse)
    return _USE if is_use else _DEFINITION


EvaluatorEntry = Annotated[
    Annotated[EvaluatorDefinition, Tag(_DEFINITION)] | Annotated[CatalogueUse, Tag(_USE)],
    Discriminator(_tag),
]
"""An evaluator in an app's document."""
