"""Cases: who the difficult user is, what they want, how they begin.

A case is identified by its challenge to the bot, never by its position or its label: the same
challenge from two sources is one case.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from evalqueue.codec import clean_text
from evalqueue.evaluators.adversarial.cases import payloads
from evalqueue.evaluators.apps.difficult_users import DifficultUsers, Persona, unknown
from evalqueue.evaluators.verdicts import Difficulty
from evalqueue.problems import OneLine

OPENING_LIMIT = 10_000  # characters
EXPECTED_LIMIT = 10_000  # characters
LABEL_LIMIT = 200  # characters
_NAMES_LIMIT = 20  # of traits or goals of one case


class CaseSource(StrEnum):
    """Where a case comes from."""

    GENERATED = "generated"
    SAVED = "saved"
    PINNED = "pinned"
    MANUAL = "manual"
    IMPORTED = "imported"
    RETRIED = "retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One difficult user."""

    opening: str
    """The first message, understood without anything before it."""
    expected_behavior: str
    """What a good bot does. Only the judge sees it, never the simulator."""
    difficulty: Difficulty
    persona: str
    """Who the user is: the name of a persona of the app."""
    traits: tuple[str, ...] = ()
    """What makes the user difficult: names of traits of the app."""
    goals: tuple[str, ...] = ()
    """What the user wants: ids of goals of the app, in the order in which they are pursued."""
    tactic: str | None = None
    """The attack to use throughout. None: the simulator chooses."""
    objective: str | None = None
    """What an attacker wants the bot to do; only with a goal that is an attack."""
    source: CaseSource = CaseSource.MANUAL
    label: str = ""
    """For people."""

    @property
    def case_id(self) -> str:
        """The same for the same challenge: 16 hexadecimal digits."""
        content = asdict(self)
        for irrelevant in ("source", "label", "expected_behavior"):
            del content[irrelevant]
        content["traits"] = sorted(self.traits)  # unlike the goals, they have no order
        content["opening"] = " ".join(self.opening.casefold().split())
        canonical = json.dumps(content, sort_keys=True)
        return sha256(canonical.encode()).hexdigest()[:16]

    @property
    def category(self) -> str:
        """The group that the case counts in: its first trait, else its tactic, else its persona."""
        return next(iter(self.traits), None) or self.tactic or self.persona

    def as_json(self) -> dict[str, object]:
        return _case().dump_python(self, mode="json")

    def as_row(self) -> dict[str, object]:
        """Its JSON with its id, as statements take it."""
        return {**self.as_json(), "case_id": self.case_id}

    @classmethod
    def of_json(cls, value: Any) -> "Case":
        """The case from the JSON of `as_json`. Unknown keys are ignored.

        Raises:
            ValueError: the value is not a case.
        """
        return _case().validate_python(value)


@cache  # made when first used: many commands read no case
def _case() -> TypeAdapter[Case]:
    return TypeAdapter(Case)


def distinct(cases: Iterable[Case]) -> list[Case]:
    """Each challenge once: the first of several equal cases."""
    found: dict[str, Case] = {}
    for case in cases:
        found.setdefault(case.case_id, case)
    return list(found.values())


class InvalidCase(ValueError):
    """A case that does not match the app."""

    def __init__(self, faults: Iterable[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        """Each field that is wrong, and why."""
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in self.faults))


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Name = Annotated[_Text, StringConstraints(max_length=100), OneLine]


class CaseInput(BaseModel):
    """A case as a person writes it. Fields that are left out follow from the others and the app."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    opening: Annotated[_Text, StringConstraints(max_length=OPENING_LIMIT)]
    """The first message."""
    expected_behavior: Annotated[_Text, StringConstraints(max_length=EXPECTED_LIMIT)]
    """What a good bot does. The simulated user never sees it."""
    difficulty: Difficulty | None = None
    """Default: the difficulty of the persona."""
    persona: _Name | None = None
    """Default: the persona named like the difficulty, else the mildest one of that difficulty; with
    a tactic or an objective, the attacker."""
    traits: list[_Name] = Field(default_factory=list[str], max_length=_NAMES_LIMIT)
    goals: list[_Name] = Field(default_factory=list[str], max_length=_NAMES_LIMIT)
    """Default: the first goal of the first trait; for an attacker, the first attack."""
    tactic: _Name | None = None
    objective: Annotated[_Text, StringConstraints(max_length=EXPECTED_LIMIT)] | None = None
    """What an attacker wants the bot to do. Default: the objective of the tactic."""
    label: str = Field(default="", max_length=LABEL_LIMIT)

    def to_case(self, users: DifficultUsers, *, source: CaseSource = CaseSource.MANUAL) -> Case:
        """The complete case, with the app's personas, traits, goals and tactics.

        Raises:
            InvalidCase: it names every field that is wrong.
        """
        faults = [*_unknown(self, users)]
        persona = None if faults else self._persona(users)
        if persona is None:
            faults = faults or [("difficulty", "say how difficult the user is, or which persona.")]
            raise InvalidCase(faults)
        objective = self.objective
        if objective is None and self.tactic is not None and persona.is_attacker:
            objective = users.tactic(self.tactic).objective
        case = Case(
            opening=clean_text(self.opening),
            expected_behavior=clean_text(self.expected_behavior),
            difficulty=persona.difficulty,
            persona=persona.name,
            traits=tuple(dict.fromkeys(self.traits)),
            goals=tuple(dict.fromkeys(self.goals)) or self._default_goals(users, persona),
            tactic=self.tactic,
            objective=None if objective is None else clean_text(objective),
            source=source,
            label=clean_text(self.label),
        )
        if self.difficulty not in {None, case.difficulty}:
            reason = f"the persona {persona.name} is {persona.difficulty}: leave it out."
            faults.append(("difficulty", reason))
        faults += _mismatches(case, users)
        if faults:
            raise InvalidCase(faults)
        return case

    def _persona(self, users: DifficultUsers) -> Persona | None:
        if self.persona is not None:
            return users.persona(self.persona)
        if self.tactic is not None or self.objective is not None:
            return next(iter(users.attackers), None)
        alike = [each for each in users.mildest_first if each.difficulty == self.difficulty]
        namesake = (each for each in alike if each.name == self.difficulty)
        return next(namesake, next(iter(alike), None))

    def _default_goals(self, users: DifficultUsers, persona: Persona) -> tuple[str, ...]:
        if self.traits and not persona.is_attacker:
            return users.trait(self.traits[0]).goals[:1]
        fitting = [goal.goal_id for goal in users.goals if goal.is_attack is persona.is_attacker]
        return tuple(fitting[:1])


def misfit(case: Case, users: DifficultUsers) -> str | None:
    """Why a stored case does not match the app, which may have changed. None: it does match.

    The check searches for payloads, so many cases take a while: call it in a thread.
    """
    faults = [*_unknown(case, users)] or [*_mismatches(case, users)]
    return ": ".join(faults[0]) if faults else None


def _unknown(case: Case | CaseInput, users: DifficultUsers) -> Iterator[tuple[str, str]]:
    """The names that the app doesn't have."""
    given = {
        "persona": [case.persona] if case.persona else [],
        "traits": case.traits,
        "goals": case.goals,
        "tactic": [case.tactic] if case.tactic else [],
    }
    known = {
        "persona": [persona.name for persona in users.personas],
        "traits": [trait.name for trait in users.traits],
        "goals": [goal.goal_id for goal in users.goals],
        "tactic": [tactic.name for tactic in users.tactics],
    }
    for field, names in given.items():
        for name in names:
            if name not in known[field]:
                yield field, unknown(field.removesuffix("s"), name, known[field])


def _mismatches(case: Case, users: DifficultUsers) -> Iterator[tuple[str, str]]:
    """Contradictions and forbidden payloads in a case whose names are all known."""
    persona = users.persona(case.persona)
    name = persona.name
    for goal in map(users.goal, case.goals):
        if goal.is_attack is not persona.is_attacker:
            kind = "an attack" if goal.is_attack else "no attack"
            who = "an attacker" if persona.is_attacker else "no attacker"
            yield "goals", f"{goal.goal_id} is {kind}, and the persona {name} is {who}."
    if persona.is_attacker:
        if case.traits:
            yield "traits", f"the persona {name} is an attacker, who has a tactic instead."
        if case.objective is None:
            yield "objective", "say what the attacker wants the bot to do, or name a tactic."
    else:
        for field in ("tactic", "objective"):
            if getattr(case, field) is not None:
                yield field, f"the persona {name} is no attacker: leave it out."
    if case.tactic is not None and users.tactic(case.tactic) not in users.permitted_tactics:
        yield "tactic", f"{case.tactic} is destructive, which this app does not allow."
    if reason := payloads.refusal(case.opening, allows_destructive=users.allows_destructive):
        yield "opening", reason
