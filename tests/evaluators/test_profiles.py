"""An app as data: loaded whole, or refused with every slip named."""

import dataclasses

import pytest

from evalqueue.evaluators import profiles

SMALL = """
app_id = "tiny"
name = "Tiny"
about = "a bot"
[[intents]]
name = "One"
description = "the only one"
[[query_types]]
name = "ask"
description = "asks"
"""


@pytest.mark.parametrize("app_id", profiles.known())
def test_every_packaged_profile_loads_under_its_own_name(app_id: str) -> None:
    profile = profiles.load(app_id)

    assert profile.app_id == app_id
    assert profile.intents
    assert profile.query_types


def test_the_first_app_has_the_known_rules_in_their_sets() -> None:
    profile = profiles.load("kaira-bot")

    correctness = {rule.rule_id for rule in profile.rules_for("correctness")}
    efficiency = {rule.rule_id for rule in profile.rules_for("efficiency")}
    assert "require_xml_chips" in correctness
    assert "reject_future_meal" in efficiency
    assert len(correctness | efficiency) == 13


@pytest.mark.parametrize("app_id", ["nobody", "../kaira-bot", "kaira-bot.toml", ""])
def test_an_unknown_app_is_refused_with_the_list_of_known_ones(app_id: str) -> None:
    with pytest.raises(profiles.UnknownProfile, match=r"Known: .*kaira-bot"):
        profiles.load(app_id)


def test_what_a_profile_leaves_out_has_a_meaning() -> None:
    profile = profiles.parse(SMALL, where="tiny.toml")

    assert profile.bounds is None
    assert profile.meal_summary is None
    assert profile.rules == ()
    assert [kind.name for kind in profile.thread_types if kind.has_efficiency] == ["meal_logging"]


@pytest.mark.parametrize(
    ("toml", "slip"),
    [
        ("app_id = ", "tiny.toml is not TOML"),
        (SMALL + 'kolor = "x"', "kolor"),
        (SMALL.replace('name = "Tiny"', ""), "name: Field required"),
        (SMALL + '[[rules]]\nrule_id="a"\nsection="s"\ntext="t"\nscopes=["speed"]', "scopes.0"),
        (SMALL + '[[rules]]\nrule_id="a"\nsection="s"\ntext="t"\nscopes=[]', "a has no scope"),
        (SMALL + '[[intents]]\nname="One"\ndescription="again"', "intents: 'One' is there twice"),
        (SMALL + '[meal_summary]\nmarkers=["Summary"]\ndescription="d"', "must be lower case"),
        (SMALL + "[efficiency]\nideal_turns = 0", "must be 1 or more"),
        (SMALL.replace('name = "One"', 'name = " "'), "intents: a name is empty"),
        ('intents=[]\nquery_types=[]\napp_id="a"\nname="n"\nabout="b"', "at least one is needed"),
    ],
)
def test_a_slip_in_a_profile_is_named(toml: str, slip: str) -> None:
    with pytest.raises(profiles.InvalidProfile) as refused:
        profiles.parse(toml, where="tiny.toml")

    assert slip in str(refused.value)


def test_a_profile_is_a_value() -> None:
    profile = profiles.load("kaira-bot")

    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.name = "other"  # type: ignore[misc]  # that is the point
