"""An app as data: loaded whole, or refused with every slip named."""

import dataclasses

import pytest

from evalqueue.evaluators import apps

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


@pytest.mark.parametrize("app_id", apps.known())
def test_every_packaged_profile_loads_under_its_own_name(app_id: str) -> None:
    app = apps.load(app_id)

    assert app.app_id == app_id
    assert app.intents
    assert app.query_types


def test_the_first_app_has_the_known_rules_in_their_sets() -> None:
    app = apps.load("kaira-bot")

    correctness = {rule.rule_id for rule in app.rules_for("correctness")}
    efficiency = {rule.rule_id for rule in app.rules_for("efficiency")}
    assert "require_xml_chips" in correctness
    assert "reject_future_meal" in efficiency
    assert len(correctness | efficiency) == 13
    assert not {rule_id for rule_id in correctness | efficiency if rule_id.startswith("persona.")}


@pytest.mark.parametrize("app_id", ["nobody", "../kaira-bot", "kaira-bot.toml", ""])
def test_an_unknown_app_is_refused_with_the_list_of_known_ones(app_id: str) -> None:
    with pytest.raises(apps.UnknownApp, match=r"Known: .*kaira-bot"):
        apps.load(app_id)


def test_what_a_profile_leaves_out_has_a_meaning() -> None:
    app = apps.parse(SMALL, where="tiny.toml")

    assert app.bounds is None
    assert app.meal_summary is None
    assert app.rules == ()
    assert [kind.name for kind in app.thread_types if kind.has_efficiency] == ["meal_logging"]


@pytest.mark.parametrize(
    ("toml", "slip"),
    [
        ("app_id = ", "tiny.toml is not TOML"),
        (SMALL + 'kolor = "x"', "kolor"),
        (SMALL.replace('name = "Tiny"', ""), "name: It is missing"),
        (SMALL + '[[rules]]\nrule_id="a"\nsection="s"\ntext="t"\nscopes=["speed"]', "scopes.0"),
        (SMALL + '[[rules]]\nrule_id="a"\nsection="s"\ntext="t"\nscopes=[]', "a has no scope"),
        (SMALL + '[[intents]]\nname="One"\ndescription="again"', "intents: 'One' is there twice"),
        (SMALL + '[meal_summary]\nmarkers=["Summary"]\ndescription="d"', "must be lower case"),
        (SMALL + "[efficiency]\nideal_turns = 0", "must be 1 or more"),
        (SMALL.replace('name = "One"', 'name = " "'), "intents.0: a name is empty"),
        ('intents=[]\nquery_types=[]\napp_id="a"\nname="n"\nabout="b"', "at least one is needed"),
    ],
)
def test_a_slip_in_a_profile_is_named(toml: str, slip: str) -> None:
    with pytest.raises(apps.InvalidApp) as refused:
        apps.parse(toml, where="tiny.toml")

    assert slip in str(refused.value)


def test_a_profile_is_a_value() -> None:
    app = apps.load("kaira-bot")

    with pytest.raises(dataclasses.FrozenInstanceError):
        app.name = "other"  # type: ignore[misc]  # that is the point


USERS = (
    SMALL
    + """
[[rules]]
rule_id = "a"
section = "s"
text = "t"
scopes = ["adversarial"]
traits = ["vague"]
goals = ["done"]
personas = ["easy"]
[difficult_users]
protocol = "webhook"
[difficult_users.webhook]
body = '{"say": {"text": "$message"}, "in": ["$session"]}'
reply = "/reply/0/text"
[[difficult_users.goals]]
goal_id = "done"
label = "Done"
description = "d"
behaviour = "b"
completion = ["c"]
[[difficult_users.goals]]
goal_id = "robbed"
label = "Robbed"
description = "d"
behaviour = "b"
completion = ["c"]
is_attack = true
[[difficult_users.traits]]
name = "vague"
description = "d"
behaviour = "b"
expected = "e"
goals = ["done"]
[[difficult_users.personas]]
name = "easy"
severity = 0
difficulty = "easy"
behaviour = "b"
[[difficult_users.personas]]
name = "thief"
severity = 1
difficulty = "hard"
behaviour = "b"
is_cooperative = false
is_attacker = true
[[difficult_users.tactics]]
name = "trick"
group = "social_engineering"
tier = "low"
behaviour = "b"
objective = "o"
"""
)


def test_difficult_users_are_part_of_a_profile() -> None:
    users = apps.parse(USERS, where="tiny.toml").difficult_users

    assert users is not None
    assert [persona.name for persona in users.attackers] == ["thief"]
    assert [persona.name for persona in users.mildest_first] == ["easy"]
    assert users.trait("vague").goals == ("done",)
    with pytest.raises(LookupError, match=r"no trait 'rude'. Known: vague"):
        users.trait("rude")


@pytest.mark.parametrize(
    ("right", "wrong", "slip"),
    [
        ('traits = ["vague"]', 'traits = ["rude"]', "rules.0.traits: a names the traits 'rude'"),
        (
            'personas = ["easy"]',
            'personas = ["joker"]',
            "rules.0.personas: a names the personas 'joker'",
        ),
        ('goals = ["done"]\npersonas', 'goals = ["peace"]\npersonas', "the goals 'peace'"),
        ('expected = "e"\ngoals = ["done"]', 'expected = "e"\ngoals = ["x"]', "names the goal 'x'"),
        ('expected = "e"\ngoals = ["done"]', 'expected = "e"\ngoals = []', "vague has no goals"),
        ('"e"\ngoals = ["done"]', '"e"\ngoals = ["robbed"]', "'robbed', an attack"),
        ('name = "thief"', 'name = "easy"', "difficult_users.personas: 'easy' is there twice"),
        ("severity = 1", "severity = 0", "two have the severity 0"),
        ("is_cooperative = false", "", "thief is an attacker: is_cooperative must be false"),
        ("is_attack = true", "", "attacks: a goal with is_attack is missing"),
        ("is_attacker = true", "", "attacks: a persona with is_attacker is missing"),
        ('difficulty = "easy"', 'difficulty = "nice"', "difficult_users.personas.0.difficulty"),
        ('{"say"', "{say", "difficult_users.webhook.body: not JSON"),
        ('"$session"', '"$token"', "$token stands for nothing; known are $message"),
        ("$message", "hello", "$message is missing, so no message would be sent"),
        ('"/reply/0/text"', '"reply.text"', "'reply.text' is not a JSON pointer"),
        ('"/reply/0/text"', '"/a~2"', "'/a~2' is not a JSON pointer"),
        ('reply = "', 'close_path = "x"\nreply = "', "close_path: 'x' must begin with /"),
        ("[difficult_users.webhook]", "[unknown]", "unknown: There is no such key"),
    ],
)
def test_a_slip_about_difficult_users_is_named(right: str, wrong: str, slip: str) -> None:
    assert right in USERS

    with pytest.raises(apps.InvalidApp) as refused:
        apps.parse(USERS.replace(right, wrong), where="tiny.toml")

    assert slip in str(refused.value)


def test_a_rule_about_users_needs_users() -> None:
    rules = USERS[: USERS.index("[difficult_users]")]

    with pytest.raises(apps.InvalidApp, match="does not have"):
        apps.parse(rules, where="tiny.toml")


def test_a_webhook_has_to_be_described() -> None:
    start, end = USERS.index("[difficult_users.webhook]"), USERS.index("[[difficult_users.goals]]")

    with pytest.raises(apps.InvalidApp, match="there is no section"):
        apps.parse(USERS[:start] + USERS[end:], where="tiny.toml")
