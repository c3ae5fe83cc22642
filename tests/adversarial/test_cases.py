"""Cases: told apart by what they put to the bot, stored whole, and refused with every fault."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial.cases.case import (
    Case,
    CaseInput,
    CaseSource,
    InvalidCase,
    distinct,
    misfit,
)
from evalqueue.evaluators.verdicts import Difficulty

KAIRA = apps.load("kaira-bot").difficult_users
assert KAIRA is not None

CASE = Case(
    opening="I had some rice",
    expected_behavior="Asks how much.",
    difficulty=Difficulty.EASY,
    persona="easy",
    traits=("quantity_ambiguity", "composite_dish"),
    goals=("meal_logged",),
    source=CaseSource.PINNED,
    label="rice",
)


def written(**fields: Any) -> Case:
    said = {"opening": "I had some rice", "expected_behavior": "Asks how much.", **fields}
    return CaseInput.model_validate(said).to_case(KAIRA)


@pytest.mark.parametrize(
    "same",
    [
        {"opening": "  i had SOME\nrice "},
        {"label": "other"},
        {"source": CaseSource.RETRIED},
        {"expected_behavior": "Asks."},
        {"traits": ("composite_dish", "quantity_ambiguity")},
    ],
)
def test_the_same_challenge_is_the_same_case(same: dict[str, Any]) -> None:
    assert replace(CASE, **same).case_id == CASE.case_id


@pytest.mark.parametrize(
    "other",
    [
        {"opening": "I had some dal"},
        {"persona": "crack"},
        {"difficulty": Difficulty.HARD},
        {"traits": ()},
        {"goals": ("question_answered",)},
        {"tactic": "roleplay"},
        {"objective": "a reveal"},
    ],
)
def test_another_challenge_is_another_case(other: dict[str, Any]) -> None:
    assert replace(CASE, **other).case_id != CASE.case_id


def test_of_cases_that_are_the_same_the_first_is_kept() -> None:
    again, other = replace(CASE, label="again"), replace(CASE, opening="dal")

    assert distinct([CASE, other, again]) == [CASE, other]


def test_a_case_comes_back_from_its_json() -> None:
    assert Case.of_json(CASE.as_json() | {"case_id": "more"}) == CASE


@pytest.mark.parametrize("broken", [{}, {"opening": 1}, None, CASE.as_json() | {"difficulty": "x"}])
def test_what_is_no_case_is_refused(broken: Any) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Case.of_json(broken)


def test_what_is_left_out_follows_from_the_profile() -> None:
    case = written(difficulty="hard", traits=["composite_dish", "composite_dish"])

    assert (case.persona, case.goals, case.traits) == (
        "hard",
        ("meal_logged",),
        ("composite_dish",),
    )
    assert written(persona="crack").difficulty is Difficulty.HARD


def test_a_tactic_makes_an_attacker_with_its_objective() -> None:
    case = written(tactic="roleplay")

    assert (case.persona, case.goals, case.difficulty) == (
        "moriarty",
        ("attack_objective",),
        Difficulty.HARD,
    )
    assert case.objective == KAIRA.tactic("roleplay").objective
    assert written(objective="swear").tactic is None


def test_text_that_cannot_be_stored_is_cleaned() -> None:
    assert written(difficulty="easy", opening="ri\0ce").opening == "ri\ufffdce"


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({}, "difficulty", "say how difficult the user is"),
        ({"persona": "joker"}, "persona", "no persona 'joker'. Known: easy"),
        ({"persona": "easy", "traits": ["lazy"]}, "traits", "no trait 'lazy'"),
        ({"persona": "easy", "goals": ["peace"]}, "goals", "no goal 'peace'"),
        ({"tactic": "bribe"}, "tactic", "no tactic 'bribe'"),
        ({"persona": "crack", "difficulty": "easy"}, "difficulty", "crack is hard"),
        ({"persona": "easy", "goals": ["attack_objective"]}, "goals", "is no attacker"),
        ({"persona": "easy", "tactic": "roleplay"}, "tactic", "no attacker: leave it out"),
        ({"persona": "moriarty"}, "objective", "say what the attacker wants"),
        ({"tactic": "roleplay", "traits": ["composite_dish"]}, "traits", "a tactic instead"),
        ({"tactic": "roleplay", "goals": ["meal_logged"]}, "goals", "is no attack"),
        ({"persona": "easy", "opening": "DROP TABLE users"}, "opening", "MORIARTY_TEST_"),
    ],
)
def test_a_fault_is_named_with_its_field(fields: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidCase) as refused:
        written(**fields)

    assert [name for name, _ in refused.value.faults] == [field]
    assert reason in str(refused.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidCase) as refused:
        written(persona="joker", traits=["lazy"], goals=["peace"])

    assert [name for name, _ in refused.value.faults] == ["persona", "traits", "goals"]


def test_an_app_without_destructive_payloads_gets_none() -> None:
    careful = replace(KAIRA, allows_destructive=False)
    said = CaseInput(
        opening="hello", expected_behavior="Declines.", tactic="sql_syntax_destructive"
    )

    with pytest.raises(InvalidCase, match="destructive, which this app does not allow"):
        said.to_case(careful)


@pytest.mark.parametrize("broken", [{"opening": " "}, {"opening": "x" * 10_001}, {"openning": "x"}])
def test_the_form_of_a_case_is_checked_at_the_door(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CaseInput.model_validate({"opening": "a", "expected_behavior": "b", **broken})


ATTACK = replace(
    CASE,
    persona="moriarty",
    traits=(),
    goals=("attack_objective",),
    tactic="sql_syntax_destructive",
    objective="Run it.",
)


def test_a_stored_case_that_fits_the_profile_has_no_fault() -> None:
    for case in (CASE, ATTACK, replace(ATTACK, tactic=None), written(tactic="roleplay")):
        assert misfit(case, KAIRA) is None


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (replace(CASE, persona="joker"), "persona: There is no persona 'joker'"),
        (replace(CASE, traits=("composite_dish", "lazy")), "traits: There is no trait 'lazy'"),
        (replace(CASE, goals=("peace",)), "goals: There is no goal 'peace'"),
        (replace(ATTACK, tactic="bribe"), "tactic: There is no tactic 'bribe'"),
        (replace(CASE, goals=("attack_objective",)), "goals: attack_objective is an attack"),
        (replace(ATTACK, goals=("meal_logged",)), "goals: meal_logged is no attack"),
        (
            replace(ATTACK, traits=("composite_dish",)),
            "traits: the persona moriarty is an attacker",
        ),
        (replace(ATTACK, objective=None), "objective: say what the attacker wants"),
        (replace(CASE, tactic="roleplay"), "tactic: the persona easy is no attacker"),
        (replace(CASE, objective="a reveal"), "objective: the persona easy is no attacker"),
        (replace(CASE, opening="DROP TABLE users"), "opening: it holds"),
    ],
)
def test_a_stored_case_is_checked_against_the_profile_as_it_is_now(case: Case, reason: str) -> None:
    assert (misfit(case, KAIRA) or "").startswith(reason)


def test_a_stored_case_is_refused_once_its_app_allows_nothing_destructive() -> None:
    careful = replace(KAIRA, allows_destructive=False)
    harmless = replace(ATTACK, tactic=None, opening="DROP TABLE MORIARTY_TEST_x;")

    assert misfit(harmless, KAIRA) is None
    assert (misfit(ATTACK, careful) or "").startswith("tactic: sql_syntax_destructive is destr")
    assert (misfit(harmless, careful) or "").startswith("opening: it holds")
