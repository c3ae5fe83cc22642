"""Apps: chatbots described as data, with the rules by which they are judged.

An app is one document: everything that the evaluators know about a chatbot. A new app is a new
document in the database (`store`) and no code. The TOML files in this directory are shipped as
read-only examples. A document with mistakes is refused as a whole, and each mistake is reported:
otherwise a misspelt key would silently change verdicts.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from evalqueue.errors import Problem
from evalqueue.evaluators.apps import checks, knowledge
from evalqueue.evaluators.apps import evaluators as _evaluators
from evalqueue.evaluators.apps.checks import AnyCheck, Check
from evalqueue.evaluators.apps.difficult_users import DifficultUsers, mistakes
from evalqueue.evaluators.apps.knowledge import KnowledgeText
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.definitions.definition import (
    ENTRY_TAGS,
    EvaluatorDefinition,
    EvaluatorEntry,
)
from evalqueue.evaluators.verdicts import ThreadType

Scope = Literal["correctness", "efficiency", "adversarial"]
"""The scopes that need no evaluator of the app's own."""


_APP_ID = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,98}[a-z0-9])?")
_LABEL_MAX = 200  # characters: longer labels on record are cut off


class UnknownApp(LookupError):
    """There is no app with this app_id."""


def path_of(problem: Problem) -> str:
    """Where in a document a mistake is: `rules.0.scopes`. Empty: it is the whole document."""
    return ".".join(map(str, problem.loc))


class InvalidApp(ValueError):
    """An app's document is invalid."""

    def __init__(self, where: str, problems: Sequence[Problem], *, what: str = "an app") -> None:
        lines = [": ".join(filter(None, (path_of(each), each.msg))) for each in problems]
        super().__init__("\n".join([f"{where} is not {what}:", *lines]))
        self.problems = tuple(problems)
        """Each has the path in the document, and what to do. An empty path: the whole document."""


class _Closed:
    """Makes pydantic refuse unknown keys in a part of an app."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


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
    scopes: tuple[str, ...]
    """Each a `Scope`, or the name of an evaluator of the app or of the catalogue."""
    traits: tuple[str, ...] = ()
    """Adversarial cases only: those with one of these traits. Empty: all cases."""
    goals: tuple[str, ...] = ()
    """Adversarial cases only: those with one of these goals. Empty: all cases."""
    personas: tuple[str, ...] = ()
    """Adversarial cases only: those of one of these personas. Empty: all cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MealSummary(_Closed):
    """Selects the bot's answers to check. All others need no LLM call."""

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

    def checks_as_json(self) -> list[dict[str, Any]]:
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
def load(app_id: str) -> App:
    """A shipped app.

    Raises:
        UnknownApp: none has this app_id.
    """
    if app_id not in known():  # this also refuses an app_id that is a path
        raise UnknownApp(f"There is no app {app_id!r}. Known: {', '.join(known())}.")
    file = files(__name__) / f"{app_id}.toml"
    app = parse(file.read_text(encoding="utf-8"), where=file.name)
    if app.app_id != app_id:
        raise ValueError(f"{file.name}: app_id is {app.app_id!r}, not the file's name.")
    return app


def known() -> tuple[str, ...]:
    """The app_ids of the shipped apps."""
    names = (file.name for file in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def parse(text: str, *, where: str) -> App:
    """An app from its TOML. `where` names the source in errors.

    Raises:
        InvalidApp: with every mistake.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidApp(where, [Problem(loc=(), msg=str(error))], what="TOML") from error
    return from_document(document, where=where)


def from_document(document: object, *, where: str) -> App:
    """An app from its parsed document.

    Raises:
        InvalidApp: with every mistake.
    """
    try:
        app = _app().validate_python(document)
    except ValidationError as error:
        raise InvalidApp(where, [_problem(mistake) for mistake in _errors(error)]) from error
    if found := list(_app_mistakes(app)):
        raise InvalidApp(where, found)
    return app


def to_document(app: App, *, with_defaults: bool = True) -> dict[str, Any]:
    """An app as JSON. Without defaults, it has only what differs from them, as people write it."""
    return _app().dump_python(
        app, mode="json", exclude_defaults=not with_defaults, exclude_none=not with_defaults
    )


# Made when first used: many commands read no app, and would start later by its time.
@cache
def _app() -> TypeAdapter[App]:
    return TypeAdapter(App)


@cache
def _checks() -> TypeAdapter[tuple[AnyCheck, ...]]:
    return TypeAdapter(tuple[Check, ...])


def _errors(error: ValidationError) -> Iterable[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _problem(mistake: ErrorDetails) -> Problem:
    """A mistake that pydantic has found, with the cure where its message has none."""
    msg = mistake["msg"].removeprefix("Value error, ")
    path, keys = checks.located(mistake["loc"])
    if mistake["type"] == "unexpected_keyword_argument":
        there = keys or _keys_at(path[:-1])
        cure = f"remove it, or correct its spelling. Keys here: {', '.join(there)}" if there else ""
        msg = f"{msg}: {cure or 'remove it, or correct its spelling'}"
    path = tuple(step for step in path if step not in ENTRY_TAGS)
    return Problem(loc=path, msg=msg, type=mistake["type"])


def _keys_at(path: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys that the part of an app at this path may have."""
    kind: Any = App
    for step in path:
        if isinstance(step, str):
            if step in ENTRY_TAGS:
                kind = ENTRY_TAGS[step]
                continue
            fields = getattr(kind, "__dataclass_fields__", {})
            if step not in fields:
                return ()
            kind = get_type_hints(kind)[step]
            kind = next((each for each in get_args(kind) if each is not type(None)), kind)
    return tuple(getattr(kind, "__dataclass_fields__", ()))


def _app_mistakes(app: App) -> Iterator[Problem]:
    """Mistakes that the types don't exclude."""
    if not _APP_ID.fullmatch(app.app_id):
        yield _mistake(
            "use small letters, digits, '-', '_' and '.', 100 at most, as in my-shop", "app_id"
        )
    yield from _menu_mistakes(app)
    yield from _evaluators.mistakes(app.evaluators, {*get_args(Scope)})
    scopes = _scopes(app)
    for msg, path in knowledge.mistakes(app.knowledge):
        yield _mistake(msg, "knowledge", *path)
    for msg, path in checks.mistakes(app.checks):
        yield _mistake(msg, "checks", *path)
    for number, rule in enumerate(app.rules):
        yield from _rule_mistakes(app, rule, number, scopes)
    if app.difficult_users is not None:
        for mistake in mistakes(app.difficult_users):
            key, _, msg = mistake.partition(": ")
            yield (
                _mistake(msg, "difficult_users", *key.split("."))
                if msg
                else _mistake(mistake, "difficult_users")
            )
    markers = app.meal_summary.markers if app.meal_summary else ()
    yield from (
        _mistake(f"{marker!r} must be lower case and not empty", "meal_summary", "markers", number)
        for number, marker in enumerate(markers)
        if not marker.strip() or marker != marker.lower()
    )
    if app.efficiency.ideal_turns < 1:
        yield _mistake("must be 1 or more", "efficiency", "ideal_turns")


def _menu_mistakes(app: App) -> Iterator[Problem]:
    """Mistakes in names."""
    menus = {
        "intents": [label.name for label in app.intents],
        "query_types": [label.name for label in app.query_types],
        "thread_types": [kind.name for kind in app.thread_types],
    }
    for key, names in menus.items():
        if not names:
            yield _mistake("at least one is needed", key)
    menus["rules"] = [rule.rule_id for rule in app.rules]
    menus["knowledge"] = [each.name for each in app.knowledge]
    menus |= {f"difficult_users.{key}": names for key, names in _users(app.difficult_users).items()}
    for key, names in menus.items():
        path = key.split(".")
        yield from (
            _mistake(f"{name!r} is there twice: give each a name of its own", *path)
            for name in _twice(names)
        )
        for number, name in enumerate(names):
            if not name.strip():
                yield _mistake("a name is empty", *path, number)
            elif len(name) > _LABEL_MAX:
                yield _mistake(f"a name is longer than {_LABEL_MAX} characters", *path, number)


def _rule_mistakes(app: App, rule: Rule, number: int, scopes: Sequence[str]) -> Iterator[Problem]:
    users = _users(app.difficult_users)
    if not rule.scopes:
        yield _mistake(
            f"{rule.rule_id} has no scope: nothing looks at it. Name one or more of "
            f"{', '.join(scopes)}",
            "rules", number, "scopes",
        )  # fmt: skip
    elif unknown := [scope for scope in rule.scopes if scope not in scopes]:
        for scope in unknown:
            yield _mistake(
                f"There is no evaluator {scope!r}: define it under evaluators, or name one of "
                f"{', '.join(scopes)}",
                "rules", number, "scopes", rule.scopes.index(scope),
            )  # fmt: skip
    elif not any(app.asks(scope) for scope in rule.scopes):
        cures = "; ".join(f"{_NEEDS[scope]} for {scope!r}" for scope in rule.scopes)
        yield _mistake(
            f"{rule.rule_id} would never be asked. The app lacks: {cures}. Add it, or choose "
            f"another scope",
            "rules", number, "scopes",
        )  # fmt: skip
    yield from (
        _mistake(
            f"{rule.rule_id} names the {key} {name!r}, which [difficult_users] does not have",
            "rules", number, key,
        )
        for key in ("traits", "goals", "personas")
        for name in getattr(rule, key)
        if name not in users[key]
    )  # fmt: skip


def _scopes(app: App) -> tuple[str, ...]:
    """The scopes that a rule can have."""
    own = filter(None, map(_evaluators.name_of, app.evaluators[: _evaluators.MOST]))
    return tuple(dict.fromkeys([*get_args(Scope), *own, *catalogue.names()]))


_NEEDS: Mapping[str, str] = {
    "efficiency": "a thread type with has_efficiency = true",
    "adversarial": "[difficult_users]",
}
"""What an app must have for the rules of a scope to be asked."""


def _mistake(msg: str, *path: str | int) -> Problem:
    return Problem(loc=path, msg=msg)


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
