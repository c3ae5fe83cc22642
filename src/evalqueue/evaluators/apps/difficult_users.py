"""What a profile says about difficult users: who they are, what they want, what they do."""

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
    """Makes pydantic refuse keys that a part of a profile does not have."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal(_Closed):
    """Something a user wants, and how one sees that they have it."""

    goal_id: str
    label: str
    description: str
    behaviour: str
    """How a user goes about it."""
    completion: tuple[str, ...]
    """Signs that it is reached."""
    not_completion: tuple[str, ...] = ()
    """What looks like it and is not."""
    is_attack: bool = False
    """Reaching it is the bot's failure; its cases have an objective."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait(_Closed):
    """A way of being difficult."""

    name: str
    description: str
    behaviour: str
    """What the simulated user does because of it."""
    expected: str
    """What a good bot does about it: for whoever makes up cases, and for the judge."""
    goals: tuple[str, ...]
    """The goals it makes sense with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona(_Closed):
    """Who the user is."""

    name: str
    severity: int
    """0 is the kindest; of several the most severe decides."""
    difficulty: Difficulty
    """How leniently the bot is judged: easy not at all, hard the most."""
    behaviour: str
    is_cooperative: bool = True
    """Answers the bot's questions when asked."""
    may_abandon: bool = False
    is_attacker: bool = False
    """Uses tactics, pursues goals that are attacks, and is never mixed with other personas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tactic(_Closed):
    """How an attacker goes about it."""

    name: str
    group: Literal["prompt_injection", "social_engineering", "payload_injection", "data_exfil"]
    tier: TacticTier
    behaviour: str
    objective: str
    """What the bot must be brought to do for it to have worked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(_Closed):
    """How a chatbot behind plain HTTP is spoken to."""

    body: str
    """The request's JSON. In its strings `$message`, `$session`, `$user_id`, `$new` stand for
    these; the first message of a conversation is `$new`."""
    reply: str
    """JSON pointer (RFC 6901) to the answer's text."""
    session: str | None = None
    """JSON pointer to the session's id, sent back as `$session` from then on."""
    error: str | None = None
    """JSON pointer to what the bot reports as its error; null or absent: none."""
    token_header: str = "Authorization"  # noqa: S105  a header's name
    token_prefix: str = "Bearer "  # noqa: S105  a scheme's name
    close_path: str | None = None
    """Path that ends a session, by DELETE; `$session` stands for its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifficultUsers(_Closed):
    """Everything about difficult users of one app."""

    protocol: str
    """How the app's bot is spoken to, unless a job says otherwise."""
    goals: tuple[Goal, ...]
    traits: tuple[Trait, ...]
    personas: tuple[Persona, ...]
    tactics: tuple[Tactic, ...] = ()
    allows_destructive: bool = False
    """Whether payloads that would destroy data may be sent, with MORIARTY_TEST_ names only."""
    webhook: Webhook | None = None

    @property
    def mildest_first(self) -> tuple[Persona, ...]:
        """The personas that are no attackers, by severity."""
        users = (each for each in self.personas if not each.is_attacker)
        return tuple(sorted(users, key=attrgetter("severity")))

    @property
    def attackers(self) -> tuple[Persona, ...]:
        return tuple(each for each in self.personas if each.is_attacker)

    @property
    def permitted_tactics(self) -> tuple[Tactic, ...]:
        """Those that need no payload which this app's bot must never be sent."""
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


def slips(users: DifficultUsers) -> Iterator[str]:
    """What the types can't say: references that lead nowhere, and what no case could be made of."""
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
        yield f"personas: two have the severity {severity}: the more severe one must be told"
    yield from _attack_slips(users)
    yield from (f"webhook.{slip}" for slip in _webhook_slips(users.webhook))
    if users.protocol == "webhook" and users.webhook is None:
        yield "protocol is 'webhook', and there is no section [difficult_users.webhook]"


def _attack_slips(users: DifficultUsers) -> Iterator[str]:
    """An attack takes three: somebody, something to want, and a way to go about it."""
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


def _webhook_slips(webhook: Webhook | None) -> Iterator[str]:
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
            yield "body: $message is not in it: nothing would be said"
    for key in ("reply", "session", "error"):
        pointer: str | None = getattr(webhook, key)
        if pointer is not None and not _POINTER.fullmatch(pointer):
            yield f"{key}: {pointer!r} is not a JSON pointer such as /data/text"
    if webhook.close_path is not None and not webhook.close_path.startswith("/"):
        yield f"close_path: {webhook.close_path!r} must begin with /"


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys too."""
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
    """What is said to whoever names a thing that isn't there."""
    return f"There is no {kind} {name!r}. Known: {', '.join(known) or 'none'}."
