"""Apps: chatbots described as data, with the rules by which they are judged.

An app is one TOML file in this directory. It contains everything that the evaluators know about the
app, so a new app needs a new file and no code. A file with mistakes is refused as a whole, and each
mistake is reported: otherwise a misspelt key would silently change verdicts.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from evalqueue.evaluators.apps.difficult_users import DifficultUsers, slips
from evalqueue.evaluators.verdicts import ThreadType

Scope = Literal["correctness", "efficiency", "adversarial"]


class UnknownApp(LookupError):
    """No packaged app has this app_id."""


class InvalidApp(ValueError):
    """An app's TOML is invalid."""


class _Closed:
    """Makes pydantic refuse unknown keys in a part of an app."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(_Closed):
    """One entry of a menu that a judge chooses from."""

    name: str
    description: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadKind(_Closed):
    """A kind of conversation, and whether efficiency applies to it."""

    name: str
    description: str
    has_efficiency: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(_Closed):
    """What the bot has to do, and which evaluators check it."""

    rule_id: str
    section: str
    text: str
    scopes: tuple[Scope, ...]
    traits: tuple[str, ...] = ()
    """Adversarial cases only: those with one of these traits. Empty: all cases."""
    goals: tuple[str, ...] = ()
    """Adversarial cases only: those with one of these goals. Empty: all cases."""
    personas: tuple[str, ...] = ()
    """Adversarial cases only: those of one of these personas. Empty: all cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MealSummary(_Closed):
    """Selects the bot's answers with figures to check. All others need no LLM call."""

    markers: tuple[str, ...]
    """Lower case. An answer with one of them is selected."""
    description: str

    def is_in(self, bot_text: str) -> bool:
        lowered = bot_text.lower()
        return any(marker in lowered for marker in self.markers)


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficiencyCriteria(_Closed):
    """What counts as friction, and what does not."""

    not_friction: tuple[str, ...] = ()
    bot_friction: tuple[str, ...] = ()
    ideal_turns: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds(_Closed):
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
class App(_Closed):
    """Everything that the evaluators know about one app."""

    app_id: str
    name: str
    about: str
    intents: tuple[Label, ...]
    query_types: tuple[Label, ...]
    rules: tuple[Rule, ...] = ()
    meal_summary: MealSummary | None = None
    """None: the app gives no figures. Every answer is NOT APPLICABLE to `correctness`."""
    efficiency: EfficiencyCriteria = EfficiencyCriteria()
    bounds: Bounds | None = None
    """None: the app's figures are not about energy. Nothing is computed."""
    thread_types: tuple[ThreadKind, ...] = MEAL_THREAD_TYPES
    difficult_users: DifficultUsers | None = None
    """None: the app does not describe difficult users."""

    def rules_for(self, scope: Scope) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if scope in rule.scopes)


@cache
def load(app_id: str) -> App:
    """A packaged app.

    Raises:
        UnknownApp: there is no app with this app_id.
    """
    if app_id not in known():  # this also refuses an app_id that is a path
        raise UnknownApp(f"There is no profile for app_id {app_id!r}. Known: {', '.join(known())}.")
    file = files(__name__) / f"{app_id}.toml"
    app = parse(file.read_text(encoding="utf-8"), where=file.name)
    if app.app_id != app_id:
        raise InvalidApp(f"{file.name}: app_id is {app.app_id!r}, not the file's name.")
    return app


def known() -> tuple[str, ...]:
    """The app_ids that `load` accepts."""
    names = (file.name for file in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def parse(text: str, *, where: str) -> App:
    """An app from its TOML. `where` names the source in errors.

    Raises:
        InvalidApp: the message has one line for each mistake.
    """
    try:
        app = _APP.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidApp(f"{where} is not TOML: {error}") from error
    except ValidationError as error:
        slips = [
            f"{'.'.join(map(str, slip['loc']))}: {slip['msg']}"
            for slip in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidApp("\n".join([f"{where} is not an app:", *slips])) from error
    if found := list(_app_slips(app)):
        raise InvalidApp("\n".join([f"{where} is not an app:", *found]))
    return app


_APP = TypeAdapter(App)


def _app_slips(app: App) -> Iterator[str]:
    """Mistakes that the types don't exclude."""
    menus = {
        "intents": [label.name for label in app.intents],
        "query_types": [label.name for label in app.query_types],
        "thread_types": [kind.name for kind in app.thread_types],
    }
    for key, names in menus.items():
        if not names:
            yield f"{key}: at least one is needed"
    menus["rules"] = [rule.rule_id for rule in app.rules]
    users = _users(app.difficult_users)
    menus |= {f"difficult_users.{key}": names for key, names in users.items()}
    for key, names in menus.items():
        yield from (f"{key}: {name!r} is there twice" for name in _twice(names))
        yield from (f"{key}: a name is empty" for name in names if not name.strip())
    yield from (
        f"rules: {rule.rule_id} has no scope: nothing looks at it"
        for rule in app.rules
        if not rule.scopes
    )
    yield from (
        f"rules: {rule.rule_id} names the {key} {name!r}, which [difficult_users] does not have"
        for rule in app.rules
        for key in ("traits", "goals", "personas")
        for name in getattr(rule, key)
        if name not in users[key]
    )
    if app.difficult_users is not None:
        yield from (f"difficult_users.{slip}" for slip in slips(app.difficult_users))
    markers = app.meal_summary.markers if app.meal_summary else ()
    yield from (
        f"meal_summary.markers: {marker!r} must be lower case and not empty"
        for marker in markers
        if not marker.strip() or marker != marker.lower()
    )
    if app.efficiency.ideal_turns < 1:
        yield "efficiency.ideal_turns: must be 1 or more"


def _users(app: DifficultUsers | None) -> dict[str, list[str]]:
    """The names in an app's description of difficult users. Empty if it has none."""
    return {
        "goals": [goal.goal_id for goal in app.goals] if app else [],
        "traits": [trait.name for trait in app.traits] if app else [],
        "personas": [persona.name for persona in app.personas] if app else [],
        "tactics": [tactic.name for tactic in app.tactics] if app else [],
    }


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]
