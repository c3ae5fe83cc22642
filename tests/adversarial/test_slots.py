"""Which cases are made up: as many as asked for, spread evenly, the same for the same seed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial.cases.slots import spread
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.verdicts import Difficulty


def users(app_id: str) -> DifficultUsers:
    app = apps.load(app_id).difficult_users
    assert app is not None
    return app


KAIRA = users("kaira-bot")
TRAITS = [trait.name for trait in KAIRA.traits]
TACTICS = [tactic.name for tactic in KAIRA.tactics]


def unevenness(values: Iterable[Any], of: int) -> int:
    """How far the counts of values are apart, where there could be `of` different ones."""
    counts = Counter(values).values()
    return max(counts) - (min(counts) if len(counts) == of else 0)


@given(
    count=st.integers(1, 120),
    seed=st.integers(),
    traits=st.lists(st.sampled_from(TRAITS), min_size=1, unique=True),
    difficulties=st.lists(st.sampled_from(list(Difficulty)), min_size=1, unique=True),
)
def test_cases_are_even_over_traits_difficulties_and_their_pairs(
    count: int, seed: int, traits: list[str], difficulties: list[Difficulty]
) -> None:
    slots = spread(KAIRA, count, traits=traits, difficulties=difficulties, seed=seed)

    assert [slot.number for slot in slots] == list(range(1, count + 1))
    pairs = [(slot.traits[0], slot.difficulty) for slot in slots]
    assert unevenness((trait for trait, _ in pairs), len(traits)) <= 1
    assert unevenness((level for _, level in pairs), len(difficulties)) <= 1
    assert unevenness(pairs, len(traits) * len(difficulties)) <= 1
    for slot in slots:
        assert set(slot.goals) <= set(KAIRA.trait(slot.traits[0]).goals)
        assert KAIRA.persona(slot.persona).difficulty == slot.difficulty


@given(count=st.integers(6, 120), seed=st.integers())
def test_the_goals_of_a_trait_are_even_and_not_tied_to_a_difficulty(count: int, seed: int) -> None:
    slots = spread(KAIRA, count, traits=["quantity_ambiguity"], seed=seed)

    assert unevenness((slot.goals for slot in slots), 2) <= 1
    assert len({(slot.goals, slot.difficulty) for slot in slots}) == 6


@given(count=st.integers(1, 100), seed=st.integers())
def test_attacks_are_even_over_tactics_and_have_their_objective(count: int, seed: int) -> None:
    slots = spread(KAIRA, count, personas=["moriarty"], seed=seed)

    assert unevenness((slot.tactic for slot in slots), len(TACTICS)) <= 1
    for slot in slots:
        assert slot.traits == ()
        assert slot.goals == ("attack_objective",)
        assert slot.objective == KAIRA.tactic(slot.tactic or "").objective


@given(count=st.integers(1, 60), seed=st.integers(), per_case=st.integers(2, 3))
def test_several_traits_of_a_case_share_its_goal(count: int, seed: int, per_case: int) -> None:
    slots = spread(KAIRA, count, traits_per_case=per_case, seed=seed)

    for slot in slots:
        assert len(set(slot.traits)) == per_case
        assert all(slot.goals[0] in KAIRA.trait(name).goals for name in slot.traits)
    assert unevenness((name for slot in slots for name in slot.traits), len(TRAITS)) <= 2


def test_the_same_seed_gives_the_same_slots_and_another_seed_gives_others() -> None:
    assert spread(KAIRA, 15, seed=1) == spread(KAIRA, 15, seed=1)
    assert spread(KAIRA, 15, seed=1) != spread(KAIRA, 15, seed=2)


def test_nobody_is_attacked_with_unless_it_was_asked_for() -> None:
    assert {slot.persona for slot in spread(KAIRA, 30)} == {"easy", "medium", "hard"}


def test_an_attacker_has_a_share_and_is_never_mixed_with_others() -> None:
    slots = spread(KAIRA, 40, personas=["easy", "medium", "crack", "moriarty"])

    assert Counter(slot.persona for slot in slots) == dict.fromkeys(
        ("easy", "medium", "crack", "moriarty"), 10
    )
    assert all(bool(slot.tactic) is not bool(slot.traits) for slot in slots)


def test_personas_of_one_difficulty_share_its_cases() -> None:
    slots = spread(KAIRA, 28, personas=["medium", "hard", "crack"])

    assert Counter(slot.persona for slot in slots) == {"medium": 14, "hard": 7, "crack": 7}


@pytest.mark.parametrize(
    ("selection", "personas"),
    [
        ({"tactics": ["roleplay"]}, {"moriarty"}),
        ({"goals": ["attack_objective"]}, {"moriarty"}),
        ({"tactics": ["roleplay"], "traits": TRAITS[:1]}, {"easy", "medium", "hard", "moriarty"}),
        ({"goals": ["question_answered"]}, {"easy", "medium", "hard"}),
        ({"difficulties": ["hard"]}, {"hard"}),
    ],
)
def test_what_is_chosen_says_who_comes(selection: dict[str, Any], personas: set[str]) -> None:
    assert {slot.persona for slot in spread(KAIRA, 12, **selection)} == personas


def test_a_goal_keeps_the_traits_that_go_with_it() -> None:
    slots = spread(KAIRA, 12, goals=["question_answered"])

    assert {slot.goals for slot in slots} == {("question_answered",)}
    assert {name for slot in slots for name in slot.traits} == {
        "quantity_ambiguity",
        "contextual_without_context",
    }


@pytest.mark.parametrize(
    ("selection", "complaint"),
    [
        ({"traits": ["laziness"]}, r"no trait 'laziness'. Known: quantity_ambiguity"),
        ({"goals": ["peace"]}, r"no goal 'peace'. Known: meal_logged"),
        ({"personas": ["hard", "joker"]}, r"no persona 'joker'. Known: easy"),
        ({"tactics": ["bribe"]}, r"no tactic 'bribe'. Known: prompt_override"),
        ({"difficulties": ["extreme"]}, r"no difficulty 'extreme'. Known: easy, medium, hard"),
        ({"traits": []}, r"no trait: choose at least one"),
        ({"personas": ["crack"], "difficulties": ["easy"]}, r"No persona is left"),
        ({"traits": ["composite_dish"], "goals": ["question_answered"]}, r"trait composite_dish"),
        ({"personas": ["moriarty"], "goals": ["meal_logged"]}, r"no goal that is an attack"),
        ({"traits_per_case": 8}, r"no trait to go with"),
        ({"traits_per_case": 0}, r"must be 1 or more"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    selection: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        spread(KAIRA, 5, **selection)


def test_destructive_tactics_are_only_for_apps_that_allow_them() -> None:
    careful = replace(KAIRA, allows_destructive=False)

    slots = spread(careful, 30, personas=["moriarty"])
    assert "sql_syntax_destructive" not in {slot.tactic for slot in slots}
    with pytest.raises(ValueError, match="destructive: this app does not allow it"):
        spread(careful, 1, tactics=["sql_syntax_destructive"])


def test_another_app_is_other_data_and_no_other_code() -> None:
    shop = users("retail-support")

    slots = spread(shop, 20, personas=["easy", "medium", "hard", "fraudster"])

    assert {slot.tactic for slot in slots if slot.tactic} == {each.name for each in shop.tactics}
    assert {name for slot in slots for name in slot.traits} == {each.name for each in shop.traits}
