"""Slots: the traits, goal, persona and tactic of each case, before an LLM generates it.

An LLM does not distribute cases evenly, even if the prompt asks for it. So the properties of each
case are chosen here. The distribution is even, and the same for the same seed.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import gcd, lcm
from typing import TypeVar

from evalqueue.evaluators.apps.difficult_users import (
    DifficultUsers,
    Persona,
    Tactic,
    Trait,
    unknown,
)
from evalqueue.evaluators.verdicts import Difficulty

A = TypeVar("A")
B = TypeVar("B")

_FIELDS = {
    "trait": "traits",
    "goal": "goals",
    "persona": "personas",
    "tactic": "tactics",
    "difficulty": "difficulties",
}

Names = Sequence[str] | None
"""The names that a job selects. None: it selects none."""


class Unfit(ValueError):
    """A selection that no case can be made of."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        """Which selection: `traits`, `goals`, `personas`, `tactics`, `difficulties` …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The properties of one case. Attackers have a tactic, other users have traits."""

    number: int
    """Counts from 1."""
    persona: str
    difficulty: Difficulty
    traits: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    tactic: str | None = None
    objective: str | None = None


def spread(
    users: DifficultUsers,
    count: int,
    *,
    difficulties: Names = None,
    traits: Names = None,
    goals: Names = None,
    personas: Names = None,
    tactics: Names = None,
    traits_per_case: int = 1,
    seed: int = 0,
) -> list[Slot]:
    """`count` slots, spread evenly over traits, difficulties, and pairs of both.

    With one trait per case, counts that should be equal differ by at most one. A selection that is
    None means all names, except for personas: it means the mildest persona of each difficulty.
    Attackers are included only if an attacker, a tactic or an attack is named; if nothing else is
    named, there are only attackers. An attacker's share is as large as that of a difficulty.

    Raises:
        Unfit: a selection has an unknown name, or no case is possible with it.
    """
    if count < 1 or traits_per_case < 1:
        raise ValueError("count and traits_per_case must be 1 or more.")
    chosen = _choose(users, difficulties, traits, goals, personas, tactics)
    shares = len({each.difficulty for each in chosen.ordinary}) + len(chosen.attackers)
    attacks = count * len(chosen.attackers) // shares
    made = [
        *_ordinary_slots(chosen, count - attacks, traits_per_case, seed),
        *_attack_slots(chosen, attacks, seed),
    ]
    return [replace(slot, number=number) for number, slot in enumerate(made, start=1)]


# What was chosen.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    ordinary: list[Persona]
    attackers: list[Persona]
    traits: list[Trait]
    """Each of them is compatible with one of the goals."""
    goals: list[str]
    attack_goals: list[str]
    tactics: list[Tactic]

    def goals_of(self, traits: Iterable[Trait]) -> list[str]:
        traits = list(traits)
        return [goal for goal in self.goals if all(goal in trait.goals for trait in traits)]


def _choose(
    users: DifficultUsers,
    difficulties: Names,
    traits: Names,
    goals: Names,
    personas: Names,
    tactics: Names,
) -> _Chosen:
    attacks = [goal.goal_id for goal in users.goals if goal.is_attack]
    named = _named("goal", goals, [goal.goal_id for goal in users.goals])
    attack_goals = [goal for goal in named if goal in attacks]
    wants_attacks = tactics is not None or (goals is not None and bool(attack_goals))
    wants_users = (
        not wants_attacks
        or traits is not None
        or (goals is not None and len(attack_goals) < len(named))
    )
    if personas is None:
        found = [*_mildest(users)] if wants_users else []
        found += users.attackers if wants_attacks else ()
    else:
        found = [
            users.persona(n) for n in _named("persona", personas, [p.name for p in users.personas])
        ]
    allowed = _named("difficulty", difficulties, list(Difficulty))
    found = [each for each in found if each.difficulty in allowed]
    if not found:
        message = "No persona is left: none that is chosen has a difficulty that is chosen."
        raise Unfit("difficulties", message)
    ordinary = [each for each in found if not each.is_attacker]
    attackers = [each for each in found if each.is_attacker]
    user_goals = [goal for goal in named if goal not in attacks]
    return _Chosen(
        ordinary=ordinary,
        attackers=attackers,
        traits=_traits(users, traits, user_goals) if ordinary else [],
        goals=user_goals,
        attack_goals=_needed("goals", "goal that is an attack", attack_goals) if attackers else [],
        tactics=_needed("tactics", "tactic", _tactics(users, tactics)) if attackers else [],
    )


def _mildest(users: DifficultUsers) -> Iterable[Persona]:
    """The mildest persona of each difficulty."""
    return {each.difficulty: each for each in reversed(users.mildest_first)}.values()


def _traits(users: DifficultUsers, names: Names, goals: Sequence[str]) -> list[Trait]:
    traits = [
        users.trait(n) for n in _named("trait", names, [trait.name for trait in users.traits])
    ]
    fitting = [each for each in traits if not set(goals).isdisjoint(each.goals)]
    if names is not None and len(fitting) < len(traits):
        odd = ", ".join(each.name for each in traits if each not in fitting)
        raise Unfit("traits", f"No goal that is chosen goes with the trait {odd}.")
    return _needed("traits", "trait that goes with a goal that is chosen", fitting)


def _tactics(users: DifficultUsers, names: Names) -> list[Tactic]:
    permitted = list(users.permitted_tactics)
    if names is None:
        return permitted
    tactics = [
        users.tactic(n) for n in _named("tactic", names, [each.name for each in users.tactics])
    ]
    for each in tactics:
        if each not in permitted:
            message = f"The tactic {each.name} is destructive: this app does not allow it."
            raise Unfit("tactics", message)
    return tactics


def _named(kind: str, names: Names, known: Sequence[str]) -> list[str]:
    """The selected names, each once. Without a selection: all known names."""
    if names is None:
        return list(known)
    for name in names:
        if name not in known:
            raise Unfit(_FIELDS[kind], unknown(kind, name, known))
    return _needed(_FIELDS[kind], kind, list(dict.fromkeys(names)))


def _needed(field: str, kind: str, found: list[A]) -> list[A]:
    if not found:
        raise Unfit(field, f"There is no {kind}: choose at least one.")
    return found


# How they are spread.


def _ordinary_slots(chosen: _Chosen, count: int, per_case: int, seed: int) -> Iterator[Slot]:
    if not count:
        return
    traits = _shuffled(chosen.traits, seed, key=lambda each: each.name)
    levels = _shuffled({each.difficulty for each in chosen.ordinary}, seed, key=str)
    personas = _shuffled(chosen.ordinary, seed, key=lambda each: each.name)
    used: Counter[Hashable] = Counter()
    for first, level in _pairs(traits, levels, count):
        together = _together(first, traits, per_case, chosen, used)
        alike = [each for each in personas if each.difficulty is level]
        persona = alike[
            _rarest(used, [[("persona", each.name), (first.name, each.name)] for each in alike])
        ]
        goals = chosen.goals_of(together)
        keys = [[(first.name, each), (first.name, level, each), ("goal", each)] for each in goals]
        goal = goals[_rarest(used, keys)]
        used.update(("trait", each.name) for each in together)
        yield Slot(
            number=0,
            persona=persona.name,
            difficulty=level,
            traits=tuple(each.name for each in together),
            goals=(goal,),
        )


def _together(
    first: Trait, traits: Sequence[Trait], per_case: int, chosen: _Chosen, used: Counter[Hashable]
) -> list[Trait]:
    """The first trait, and the least used others that share a goal with all of them."""
    together = [first]
    while len(together) < per_case:
        others = [each for each in traits if each not in together]
        others = [each for each in others if chosen.goals_of([*together, each])]
        if not others:
            raise Unfit(
                "traits_per_case",
                f"There is no trait to go with {', '.join(each.name for each in together)} "
                f"for {per_case} traits per case: choose fewer, or other goals.",
            )
        scarcest = min(others, key=lambda each: used["trait", each.name])
        together.append(scarcest)
    return together


def _attack_slots(chosen: _Chosen, count: int, seed: int) -> Iterator[Slot]:
    if not count:
        return
    tactics = _shuffled(chosen.tactics, seed, key=lambda each: each.name)
    used: Counter[Hashable] = Counter()
    for tactic, persona in _pairs(tactics, chosen.attackers, count):
        keys: list[list[Hashable]] = [[(tactic.name, each), each] for each in chosen.attack_goals]
        goal = chosen.attack_goals[_rarest(used, keys)]
        yield Slot(
            number=0,
            persona=persona.name,
            difficulty=persona.difficulty,
            goals=(goal,),
            tactic=tactic.name,
            objective=tactic.objective,
        )


def _pairs(ones: Sequence[A], others: Sequence[B], count: int) -> Iterator[tuple[A, B]]:
    """Pairs whose every prefix is even, over each element and over the pairs.

    Both sequences are cycled in parallel. After `lcm` steps the same pairs would repeat, so the
    second sequence is shifted by one. After `gcd` such rounds each pair has occurred exactly once.
    """
    period, rounds = lcm(len(ones), len(others)), gcd(len(ones), len(others))
    for step in range(count):
        shift = step // period % rounds
        yield ones[step % len(ones)], others[(step + shift) % len(others)]


def _rarest(used: Counter[Hashable], keys: Sequence[Sequence[Hashable]]) -> int:
    """The index of the alternative that was used least, by its first key, then its second, and so
    on. Counts its use."""
    index = min(range(len(keys)), key=lambda each: [used[key] for key in keys[each]])
    used.update(keys[index])
    return index


def _shuffled(values: Iterable[A], seed: int, *, key: Callable[[A], str]) -> list[A]:
    return sorted(values, key=lambda each: sha256(f"{seed}:{key(each)}".encode()).digest())
