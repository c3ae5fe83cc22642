"""Mistakes in an app's document: what its types exclude, and what they do not."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from evalqueue.errors import Problem
from evalqueue.evaluators.apps import checks, knowledge
from evalqueue.evaluators.apps import evaluators as _evaluators
from evalqueue.evaluators.apps.app import App, Rule, Scope
from evalqueue.evaluators.apps.difficult_users import DifficultUsers, mistakes
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.definitions.definition import ENTRY_TAGS
from evalqueue.problems import explained

APP_ID = r"^[a-z0-9](?:[a-z0-9_.-]{0,98}[a-z0-9])?$"
APP_ID_WORDS = "small letters, digits, '-', '_' and '.', 100 at most, as in my-shop"
_LABEL_MAX = 200  # characters: longer labels on record are cut off


def type_mistakes(error: ValidationError) -> list[Problem]:
    """The mistakes that pydantic has found."""
    return [_problem(each) for each in explained(error)]


def app_mistakes(app: App) -> Iterator[Problem]:
    """Mistakes that the types don't exclude."""
    if not re.fullmatch(APP_ID, app.app_id):
        yield _mistake(f"use {APP_ID_WORDS}", "app_id")
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


def _problem(mistake: ErrorDetails) -> Problem:
    """A mistake that pydantic has found, with the cure where its message has none."""
    msg = mistake["msg"]
    path, keys = checks.located(mistake["loc"])
    if mistake["type"] == "unexpected_keyword_argument":
        there = keys or _keys_at(path[:-1])
        msg += f". Keys here: {', '.join(there)}" if there else ""
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
