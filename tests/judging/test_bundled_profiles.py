"""The bundled profiles: both are complete, and they share nothing but their shape."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import pytest

from evalqueue import evaluators

PROFILES = ["kaira-bot", "retail-support"]


@cache
def app(app_id: str) -> Any:  # as the standard library reads TOML
    return tomllib.loads((files(evaluators) / f"apps/{app_id}.toml").read_text("utf-8"))


@pytest.mark.parametrize("app_id", PROFILES)
def test_a_profile_says_everything_an_evaluator_asks_for(app_id: str) -> None:
    data = app(app_id)

    assert data["app_id"] == app_id
    assert data["name"]
    assert len(data["about"]) > 200
    for intent in data["intents"]:
        assert intent["description"], intent
        assert intent["examples"], intent
    for rule in data["rules"]:
        keys = {"rule_id", "section", "text", "scopes"}
        assert keys <= set(rule) <= keys | {"traits", "goals", "personas"}
        assert rule["scopes"], rule
        assert set(rule["scopes"]) <= {"correctness", "efficiency", "adversarial"}
    markers = data.get("meal_summary", {"markers": []})["markers"]
    assert all(marker == marker.lower() for marker in markers)
    assert bool(markers) is not bool(data.get("knowledge"))
    assert set(data["efficiency"]) == {"not_friction", "bot_friction", "ideal_turns"}


@pytest.mark.parametrize("app_id", PROFILES)
def test_names_in_a_profile_are_unique(app_id: str) -> None:
    data = app(app_id)

    for table, key in [("intents", "name"), ("query_types", "name"), ("rules", "rule_id")]:
        values = [entry[key] for entry in data[table]]
        assert len(set(values)) == len(values), table


def test_the_two_profiles_have_nothing_in_common_but_their_shape() -> None:
    food, shop = app("kaira-bot"), app("retail-support")

    assert (len(food["intents"]), len(food["rules"])) == (7, 28)
    assert (len(shop["intents"]), len(shop["rules"])) == (6, 11)
    for table, key in [("intents", "name"), ("query_types", "name"), ("rules", "rule_id")]:
        assert not {entry[key] for entry in food[table]} & {entry[key] for entry in shop[table]}
    assert "knowledge" not in food
    assert not {"meal_summary", "bounds"} & set(shop)


RULES_OF_TRAITS = {
    "quantity_ambiguity": {
        "ask_time_if_missing", "ask_quantity_if_ambiguous", "exact_calorie_values",
        "single_item_one_table", "require_xml_chips",
    },
    "multi_meal_single_message": {
        "ask_time_if_missing", "exact_calorie_values", "ignore_prev_logged_meal",
        "multi_food_multi_tables", "require_xml_chips", "separate_multiple_meals",
    },
    "correction_contradiction": {
        "ask_time_if_missing", "exact_calorie_values", "apply_user_corrections",
        "require_xml_chips",
    },
    "edit_after_confirmation": {
        "ask_time_if_missing", "exact_calorie_values", "ignore_prev_logged_meal",
        "allow_edit_after_log", "require_xml_chips",
    },
    "future_time_rejection": {"reject_future_meal"},
    "contextual_without_context": {"ask_quantity_if_ambiguous", "no_assumption_without_context"},
    "composite_dish": {
        "ask_time_if_missing", "exact_calorie_values", "composite_dish_single_item",
        "single_item_one_table", "require_xml_chips",
    },
}  # fmt: skip


def test_each_way_of_being_difficult_has_its_rules() -> None:
    rules = app("kaira-bot")["rules"]
    of_traits = {
        trait: {rule["rule_id"] for rule in rules if trait in rule.get("traits", ())}
        for trait in RULES_OF_TRAITS
    }

    assert of_traits == RULES_OF_TRAITS
    assert all("adversarial" in rule["scopes"] for rule in rules)


def test_the_rules_of_the_other_evaluators_are_what_they_were() -> None:
    rules = app("kaira-bot")["rules"]

    counts = [
        sum(scope in rule["scopes"] for rule in rules) for scope in ("correctness", "efficiency")
    ]
    assert counts == [5, 8]


def test_the_difficult_users_of_the_first_app_have_their_names() -> None:
    users = app("kaira-bot")["difficult_users"]

    assert {trait["name"] for trait in users["traits"]} == set(RULES_OF_TRAITS)
    assert [goal["goal_id"] for goal in users["goals"]] == [
        "meal_logged",
        "question_answered",
        "attack_objective",
    ]
    assert [(persona["name"], persona["difficulty"]) for persona in users["personas"]] == [
        ("easy", "easy"),
        ("medium", "medium"),
        ("hard", "hard"),
        ("crack", "hard"),
        ("moriarty", "hard"),
    ]
    assert len(users["tactics"]) == 9


def test_the_two_apps_share_no_way_of_being_difficult() -> None:
    food, shop = (app(app_id)["difficult_users"] for app_id in PROFILES)

    for table, key in [("goals", "goal_id"), ("traits", "name"), ("tactics", "name")]:
        assert not {each[key] for each in food[table]} & {each[key] for each in shop[table]}
    assert (food["protocol"], shop["protocol"]) == ("kaira_v2", "webhook")


@pytest.mark.parametrize("app_id", PROFILES)
def test_what_the_bot_is_expected_to_do_is_not_in_what_its_users_are_told(app_id: str) -> None:
    data = app(app_id)
    judged_by = [rule["text"] for rule in data["rules"]]
    judged_by += [trait["expected"] for trait in data["difficult_users"]["traits"]]

    for table in ("traits", "goals", "personas", "tactics"):
        for entry in data["difficult_users"][table]:
            assert not any(text in entry["behaviour"] for text in judged_by), entry
