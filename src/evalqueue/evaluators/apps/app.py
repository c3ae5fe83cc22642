"""An app: everything that the evaluators know about one chatbot."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from pydantic import TypeAdapter

from evalqueue.evaluators.apps import evaluators as _evaluators
from evalqueue.evaluators.apps.checks import AnyCheck, Check
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.apps.knowledge import KnowledgeText
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.definitions.closed import ClosedPart
from evalqueue.evaluators.definitions.definition import EvaluatorDefinition, EvaluatorEntry
from evalqueue.evaluators.verdicts import ThreadType

Scope = Literal["correctness", "efficiency", "adversarial"]
"""The scopes that need no evaluator of the app's own."""
CONVERSATION_SCOPE: Scope = "efficiency"
"""That of rules which are asked about whole conversations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(ClosedPart):
    """One entry of a menu that a judge chooses from."""

    name: str
    description: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadKind(ClosedPart):
    """A kind of conversation, and whether efficiency applies to it."""

    name: str
    description: str
    has_efficiency: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(ClosedPart):
    """What the bot has to do, and which evaluators check it."""

    rule_id: str
    section: str
    text: str
    scopes: tuple[str, ...]
    """Each a `Scope`, or the name of an evaluator of the app or of the catalogue."""
    traits: tuple[str, ...] = ()
    """Adversarial cases only: those with one of these traits. Empty: all cases."""
    goals: tuple[str, ...] = ()
    """Adversarial cases only: those with one of these goals. Empty: all cases."""
    personas: tuple[str, ...] = ()
    """Adversarial cases only: those of one of these personas. Empty: all cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MealSummary(ClosedPart):
    """Selects the bot's answers to check. All others need no LLM call."""

    markers: tuple[str, ...]
    """Lower case. An answer with one of them is selected."""
    description: str

    def is_in(self, bot_text: str) -> bool:
        lowered = bot_text.lower()
        return any(marker in lowered for marker in self.markers)


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficiencyCriteria(ClosedPart):
    """What counts as friction, and what does not."""

    not_friction: tuple[str, ...] = ()
    bot_friction: tuple[str, ...] = ()
    ideal_turns: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds(ClosedPart):
    """The valid range of energy figures, and the tolerance of sums."""

    item_kcal_seldom_above: float
    meal_kcal_seldom_above: float
    kcal_always_wrong_from: float
    items_sum_tolerance_kcal: float
    items_sum_tolerance_share: float
    macro_tolerance_share: float


MEAL_THREAD_TYPES = (
    ThreadKind(
        name=ThreadType.MEAL_LOGGING,
        description="The user wants something recorded, changed or deleted.",
        has_efficiency=True,
    ),
    ThreadKind(
        name=ThreadType.FOOD_ANALYSIS, description="The user asks about what is already recorded."
    ),
    ThreadKind(
        name=ThreadType.CGM_QUERY, description="The user asks about glucose or other readings."
    ),
    ThreadKind(name=ThreadType.GENERAL, description="The user asks about anything else."),
    ThreadKind(
        name=ThreadType.GREETING, description="Only a greeting, thanks, or who the assistant is."
    ),
)
"""The kinds of thread of an app that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App(ClosedPart):
    """Everything that the evaluators know about one app."""

    app_id: str
    name: str
    about: str
    intents: tuple[Label, ...]
    query_types: tuple[Label, ...]
    rules: tuple[Rule, ...] = ()
    knowledge: tuple[KnowledgeText, ...] = ()
    """What the bot's answers have to agree with."""
    meal_summary: MealSummary | None = None
    """The answers that `correctness` looks at. None: it looks at all that can be compared."""
    efficiency: EfficiencyCriteria = EfficiencyCriteria()
    bounds: Bounds | None = None
    """Switches on the checks of calories and sums in the answers that `meal_summary` selects."""
    checks: tuple[Check, ...] = ()
    """What a program looks at in the bot's answers."""
    thread_types: tuple[ThreadKind, ...] = MEAL_THREAD_TYPES
    difficult_users: DifficultUsers | None = None
    """None: the app does not describe difficult users."""
    evaluators: tuple[EvaluatorEntry, ...] = ()
    """Its own, and those that it uses of the catalogue."""

    @property
    def definitions(self) -> tuple[EvaluatorDefinition, ...]:
        """The evaluators of the app, and those of the catalogue that a rule names."""
        scopes = (scope for rule in self.rules for scope in rule.scopes)
        return _evaluators.definitions(self.evaluators, scopes)

    def rules_for(self, scope: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if scope in rule.scopes)

    def checks_as_json(self) -> list[object]:
        """The checks with all their parameters."""
        return _checks().dump_python(self.checks, mode="json")

    def asks(self, scope: str) -> bool:
        """Whether anything of this app is judged in this scope, so that its rules are asked."""
        match scope:
            case "correctness":
                return True
            case "efficiency":
                return any(kind.has_efficiency for kind in self.thread_types)
            case "adversarial":
                return self.difficult_users is not None
            case _:
                own = map(_evaluators.name_of, self.evaluators)
                return scope in catalogue.names() or scope in own


@cache
def _checks() -> TypeAdapter[tuple[AnyCheck, ...]]:
    return TypeAdapter(tuple[Check, ...])
