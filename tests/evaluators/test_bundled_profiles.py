"""The bundled profiles: both are complete, and they share nothing but their shape."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import pytest

from evalqueue import evaluators

PROFILES = ["kaira-bot", "retail-support"]


@cache
def profile(app_id: str) -> Any:  # as the standard library reads TOML
    return tomllib.loads((files(evaluators) / f"profiles/{app_id}.toml").read_text("utf-8"))


@pytest.mark.parametrize("app_id", PROFILES)
def test_a_profile_says_everything_an_evaluator_asks_for(app_id: str) -> None:
    data = profile(app_id)

    assert data["app_id"] == app_id
    assert data["name"]
    assert len(data["about"]) > 200
    for intent in data["intents"]:
        assert intent["description"], intent
        assert intent["examples"], intent
    for rule in data["rules"]:
        assert set(rule) == {"rule_id", "section", "text", "scopes"}
        assert rule["scopes"], rule
        assert set(rule["scopes"]) <= {"correctness", "efficiency"}
    assert data["meal_summary"]["markers"]
    assert all(marker == marker.lower() for marker in data["meal_summary"]["markers"])
    assert set(data["efficiency"]) == {"not_friction", "bot_friction", "ideal_turns"}


@pytest.mark.parametrize("app_id", PROFILES)
def test_names_in_a_profile_are_unique(app_id: str) -> None:
    data = profile(app_id)

    for table, key in [("intents", "name"), ("query_types", "name"), ("rules", "rule_id")]:
        values = [entry[key] for entry in data[table]]
        assert len(set(values)) == len(values), table


def test_the_two_profiles_have_nothing_in_common_but_their_shape() -> None:
    food, shop = profile("kaira-bot"), profile("retail-support")

    assert (len(food["intents"]), len(food["rules"])) == (7, 13)
    assert (len(shop["intents"]), len(shop["rules"])) == (6, 8)
    for table, key in [("intents", "name"), ("query_types", "name"), ("rules", "rule_id")]:
        assert not {entry[key] for entry in food[table]} & {entry[key] for entry in shop[table]}
    assert not set(food["meal_summary"]["markers"]) & set(shop["meal_summary"]["markers"])
