"""An app's description of difficult users: who they are, what they want, what they do."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict

from evalqueue.evaluators.verdicts import Difficulty

TacticTier = Literal["low", "medium", "high", "destructive"]


class _Closed:
    """Makes pydantic refuse unknown keys in a part of an app."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal(_Closed):
    """Something a user wants, and the signs that it is reached."""

    goal_id: str
    label: str
    description: str
    behaviour: str
    """How a user pursues it."""
    completion: tuple[str, ...]
    """Signs that it is reached."""
    not_completion: tuple[str, ...] = ()
    """What may be mistaken for it."""
    is_attack: bool = False
    """Whether reaching it is a failure of the bot. Cases with such a goal have an objective."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait(_Closed):
    """A way of being difficult."""

    name: str
    description: str
    behaviour: str
    """What the simulated user does because of it."""
    expected: str
    """What a good bot does about it. For the LLM that generates cases, and for the judge."""
    goals: tuple[str, ...]
    """The goals it makes sense with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona(_Closed):
    """Who the user is."""

    name: str
    severity: int
    """0 is the mildest. Of several, the most severe one counts."""
    difficulty: Difficulty
    """How leniently the bot is judged: strictly for easy users, most leniently for hard ones."""
    behaviour: str
    is_cooperative: bool = True
    """Whether the user answers the bot's questions."""
    may_abandon: bool = False
    is_attacker: bool = False
    """Whether the user has tactics, pursues attacks, and is never combined with other personas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tactic(_Closed):
    """A method of an attacker."""

    name: str
    group: Literal["prompt_injection", "social_engineering", "payload_injection", "data_exfil"]
    tier: TacticTier
    behaviour: str
    objective: str
    """What the bot does if the attack succeeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(_Closed):
    """The requests and answers of a chatbot behind plain HTTP."""

    body: str
    """The request's JSON. `$message`, `$session`, `$user_id` and `$new` in its strings are
    replaced. `$new` is true for the first message of a conversation."""
    reply: str
    """JSON pointer (RFC 6901) to the answer's text."""
    session: str | None = None
    """JSON pointer to the session's id, which later requests send as `$session`."""
    error: str | None = None
    """JSON pointer to the bot's error. Null or absent: no error."""
    token_header: str = "Authorization"  # noqa: S105  a header's name
    token_prefix: str = "Bearer "  # noqa: S105  a scheme's name
    close_path: str | None = None
    """Path that ends a session by DELETE. `$session` is replaced by the session's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifficultUsers(_Closed):
    """The difficult users of one app."""

    protocol: str
    """The protocol of the app's bot, unless a job names another."""
    goals: tuple[Goal, ...]
    traits: tuple[Trait, ...]
    personas: tuple[Persona, ...]
    tactics: tuple[Tactic, ...] = ()
    allows_destructive: bool = False
    """Whether destructive payloads may be sent. They may use MORIARTY_TEST_ names only."""
    webhook: Webhook | None = None

    @property
    def mildest_first(self) -> tuple[Persona, ...]:
        """The personas that are not attackers, by severity."""
        users = (each for each in self.personas if not each.is_attacker)
        return tuple(sorted(users, key=attrgetter("severity")))

    @property
    def attackers(self) -> tuple[Persona, ...]:
        return tuple(each for each in self.personas if each.is_attacker)

    @property
    def permitted_tactics(self) -> tuple[Tactic, ...]:
        """The tactics without destructive payloads, or all if the app allows those."""
        destructive = () if self.allows_destructive else ("destructive",)
        return tuple(each for each in self.tactics if each.tier not in destructive)

    def goal(self, goal_id: str) -> Goal:
        return _the(goal_id, "goal", {each.goal_id: each for each in self.goals})

    def trait(self, name: str) -> Trait:
        return _the(name, "trait", {each.name: each for each in self.traits})

    def persona(self, name: str) -> Persona:
        return _the(name, "persona", {each.name: each for each in self.personas})

    def tactic(self, name: str) -> Tactic:
        return _the(name, "tactic", {each.name: each for each in self.tactics})


def mistakes(users: DifficultUsers) -> Iterator[str]:
    """Mistakes that the types don't exclude: unknown references, and users without cases."""
    goals = {goal.goal_id: goal for goal in users.goals}
    for key, needed in (
        ("goals", [goal for goal in users.goals if not goal.is_attack]),
        ("traits", users.traits),
        ("personas", users.mildest_first),
    ):
        if not needed:
            yield f"{key}: at least one is needed that is no attack"
    for trait in users.traits:
        if not trait.goals:
            yield f"traits: {trait.name} has no goals: no case could be made of it"
        for goal_id in trait.goals:
            if goal_id not in goals:
                yield f"traits: {trait.name} names the goal {goal_id!r}, which does not exist"
            elif goals[goal_id].is_attack:
                yield f"traits: {trait.name} names {goal_id!r}, an attack: traits are no attacks"
    severities = [persona.severity for persona in users.personas]
    for severity in sorted({each for each in severities if severities.count(each) > 1}):
        yield f"personas: two have the severity {severity}: give each persona its own"
    yield from _attack_mistakes(users)
    yield from (f"webhook.{mistake}" for mistake in _webhook_mistakes(users.webhook))
    if users.protocol == "webhook" and users.webhook is None:
        yield "protocol is 'webhook', and there is no section [difficult_users.webhook]"


def _attack_mistakes(users: DifficultUsers) -> Iterator[str]:
    """An attack needs a persona, a goal and a tactic."""
    has = {
        "a persona with is_attacker": bool(users.attackers),
        "a goal with is_attack": any(goal.is_attack for goal in users.goals),
        "a tactic": bool(users.tactics),
    }
    if any(has.values()):
        yield from (f"attacks: {needed} is missing" for needed, found in has.items() if not found)
    for persona in users.attackers:
        if persona.is_cooperative:
            yield f"personas: {persona.name} is an attacker: is_cooperative must be false"


_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_PLACEHOLDER = re.compile(r"\$(\w*)")
_WEBHOOK_NAMES = ("message", "session", "user_id", "new")


def _webhook_mistakes(webhook: Webhook | None) -> Iterator[str]:
    if webhook is None:
        return
    try:
        body: Any = json.loads(webhook.body)
    except ValueError as error:
        yield f"body: not JSON: {error}"
    else:
        used = {name for text in _strings(body) for name in _PLACEHOLDER.findall(text)}
        for name in sorted(used.difference(_WEBHOOK_NAMES)):
            known = ", ".join(f"${each}" for each in _WEBHOOK_NAMES)
            yield f"body: ${name} stands for nothing; known are {known}"
        if "message" not in used:
            yield "body: $message is missing, so no message would be sent"
    for key in ("reply", "session", "error"):
        pointer: str | None = getattr(webhook, key)
        if pointer is not None and not _POINTER.fullmatch(pointer):
            yield f"{key}: {pointer!r} is not a JSON pointer such as /data/text"
    if webhook.close_path is not None and not webhook.close_path.startswith("/"):
        yield f"close_path: {webhook.close_path!r} must begin with /"


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, including keys."""
    match value:
        case str():
            yield value
        case dict():
            yield from (text for pair in value.items() for each in pair for text in _strings(each))  # pyright: ignore[reportUnknownVariableType]  any JSON
        case list():
            yield from (text for each in value for text in _strings(each))  # pyright: ignore[reportUnknownVariableType]  any JSON
        case _:
            pass


_T = TypeVar("_T")


def _the(name: str, kind: str, known: Mapping[str, _T]) -> _T:
    try:
        return known[name]
    except KeyError:
        raise LookupError(unknown(kind, name, known)) from None


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The error message for an unknown name."""
    return f"There is no {kind} {name!r}. Known: {', '.join(known) or 'none'}."
