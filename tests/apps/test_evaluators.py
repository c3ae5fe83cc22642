"""The evaluators in an app's document: a mistake is named with its place and its cure."""

import time
import tomllib
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.apps.conftest import TELECOM

from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import InvalidApp, documents
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.definitions.definition import (
    JudgedUnit,
    LongConversations,
    OutputKind,
    TurnPart,
)

MANNERS = """
[[evaluators]]
name = "manners"
prompt = "Is it polite?"
output = { kind = "category", labels = ["KIND", "RUDE"], good = ["KIND"], bad = ["RUDE"] }
"""
RULE = 'scopes = ["efficiency"]'


def problems(text: str) -> dict[str, str]:
    with pytest.raises(InvalidApp) as refused:
        documents.read(text, Notation.TOML, where="my.toml")
    return {apps.path_of(each): each.msg for each in refused.value.problems}


@pytest.mark.parametrize(
    ("old", "new", "path", "says"),
    [
        ('"manners"', '"Manners"', "name", "use small letters"),
        ('"manners"', '"efficiency"', "name", "the name of another evaluator: rename it"),
        ('"manners"', f'"{"m" * 40}"', "name", "39 at most"),
        ('"Is it polite?"', '" "', "prompt", "say what the judge is to decide"),
        ('"Is it polite?"', '"{{transcrpt}}"', "prompt", "There are {{app_name}}"),
        ('"Is it polite?"', '"{{answer}}"', "prompt", 'write scope = "turn"'),
        ('"Is it polite?"', '"{{context}}"', "prompt", "add {{transcript}}"),
        ('"Is it polite?"', '"{{transcript}"', "prompt", "not closed: write {{name}}"),
        ('"Is it polite?"', '"{% if x %}"', "prompt", "only {{name}} is replaced"),
        ('"Is it polite?"', '"?"\nscope = "both"', "scope", "'turn', 'conversation' or 'pair'"),
        ('"Is it polite?"', '"?"\nscope = "pair"', "output.labels", "first, second, tie"),
        ('"Is it polite?"', '"?"\ncode = "x"', "code", "Keys here: name, prompt, output"),
        ('"Is it polite?"', '"?"\nshows = ["tools"]', "shows", "must see user or bot"),
        ('"Is it polite?"', '"?"\ncontext_turns = -1', "context_turns", "0 to 50"),
        ('"Is it polite?"', '"?"\nlong_conversations = "first"', "long_conversations",
         "'no_verdict', 'worst', 'best', 'last' or 'mean'"),
        ('"Is it polite?"', '"?"\nlong_conversations = "mean"', "long_conversations",
         "only a number has a mean, and this is a category: use worst, best or last"),
        ('"Is it polite?"', '"?"\nscope = "turn"\nlong_conversations = "last"',
         "long_conversations", "only of scope conversation"),
        (', good = ["KIND"], bad = ["RUDE"] }\n', ' }\nlong_conversations = "best"\n',
         "long_conversations", "give good or bad, or order them, for best"),
        ('"category"', '"number"', "output.labels", "only a category has it"),
        ('"category"', '"enum"', "output.kind", "'category', 'number' or 'boolean'"),
        ('"KIND", "RUDE"]', '"KIND"]', "output.labels", "2 to 50 labels"),
        ('"KIND", "RUDE"]', '"KIND", "kind", "RUDE"]', "output.labels", "Rename one"),
        ('good = ["KIND"]', 'good = ["NICE"]', "output.good.0", "Labels: KIND, RUDE"),
        ('good = ["KIND"]', 'good = ["RUDE"]', "output", "there twice"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place_and_its_cure(old: str, new: str, path: str, says: str) -> None:
    found = problems(TELECOM + MANNERS.replace(old, new))

    assert says in found[f"evaluators.0.{path}"]


BETTER = """
[[evaluators]]
name = "better"
scope = "pair"
prompt = "Which answer helps more?"
output = { kind = "category", labels = ["first", "second", "tie"], good = ["first"] }
"""


@pytest.mark.parametrize(
    ("old", "new", "path", "says"),
    [
        ('"first", "second", "tie"', '"second", "tie"', "output.labels", "tie can be left out"),
        ('"tie"]', '"tie", "both"]', "output.labels", "they are first, second, tie"),
        ('"category", labels = ["first", "second", "tie"], good = ["first"]', '"boolean"',
         "output.labels", "they are"),
        ("good =", "ordered = true, good =", "output.ordered", "they have no order"),
        ('"pair"', '"pair"\nshows = ["user"]', "shows", "add bot"),
        ('"pair"', '"pair"\nrules = [{ rule_id = "a", text = "b" }]', "rules", "remove them"),
        (
            '"pair"',
            '"pair"\ngold = [{ verdict = "tie", turns = [{ user = "a", bot = "b" }] }]',
            "gold.0.turns",
            "needs an alternative",
        ),
    ],
)  # fmt: skip
def test_a_mistake_about_a_pair_has_its_place_and_its_cure(
    old: str, new: str, path: str, says: str
) -> None:
    documents.read(TELECOM + BETTER, Notation.TOML, where="my.toml")
    found = problems(TELECOM + BETTER.replace(old, new, 1))

    assert says in found[f"evaluators.0.{path}"]


@pytest.mark.parametrize(
    ("more", "path", "says"),
    [
        ("[[evaluators.gold]]\nverdict = 'MILD'\nturns = [{user = 'a', bot = 'b'}]",
         "gold.0.verdict", "It is one of KIND, RUDE"),
        ("[[evaluators.examples]]\nverdict = 'KIND'\nturns = []", "examples.0.turns", "one turn"),
        ("[evaluators.applies_when]\nmin_turns = 0", "applies_when.min_turns", "1 or more"),
        ("[evaluators.applies_when]\nbot_says = ['Kcal']", "applies_when.bot_says.0", "lower case"),
        ("[evaluators.applies_when]\nhas = ['user']", "applies_when.has.0", "every turn has it"),
        ("[evaluators.parameters]\ntemperature = 3", "parameters.temperature", "0 to 2"),
        ("[[evaluators.rules]]\nrule_id = ''\ntext = 'x'", "rules.0", "a rule_id and a text"),
    ],
)  # fmt: skip
def test_so_has_one_in_its_parts(more: str, path: str, says: str) -> None:
    assert says in problems(TELECOM + MANNERS + more)[f"evaluators.0.{path}"]


def test_names_are_not_given_twice_and_the_catalogue_is_known() -> None:
    twice = problems(TELECOM + MANNERS + MANNERS)
    unknown = problems(TELECOM + '[[evaluators]]\nuse = "mood"')
    changed = problems(TELECOM + '[[evaluators]]\nuse = "tone"\nprompt = "?"')
    number = problems(TELECOM + MANNERS.replace('"category"', '"number"'))

    assert twice.keys() == {"evaluators.0.name", "evaluators.1.name"}
    assert "It has escalation" in unknown["evaluators.0.use"]
    assert "Keys here: use, name, title" in changed["evaluators.0.prompt"]
    assert "give minimum and maximum" in number["evaluators.0.output.minimum"]


def test_a_rule_is_asked_by_an_evaluator_of_the_app_or_of_the_catalogue() -> None:
    own = TELECOM.replace(RULE, 'scopes = ["manners"]') + MANNERS
    leak = TELECOM.replace(RULE, 'scopes = ["pii_leak"]')
    renamed = TELECOM.replace(RULE, 'scopes = ["leaks"]') + (
        '[[evaluators]]\nuse = "pii_leak"\nname = "leaks"'
    )

    def names(text: str) -> list[str]:
        app = documents.read(text, Notation.TOML, where="a")
        return [each.name for each in app.definitions]

    assert (names(own), names(leak), names(renamed)) == (["manners"], ["pii_leak"], ["leaks"])
    assert "There is no evaluator 'mood'" in problems(
        TELECOM.replace(RULE, 'scopes = ["efficiency", "mood"]')
    )["rules.0.scopes.1"]  # fmt: skip


def test_what_an_app_changes_about_the_catalogue_is_changed_and_nothing_else() -> None:
    text = TELECOM + (
        '[[evaluators]]\nuse = "tone"\ntitle = "Our tone"\nparameters = { temperature = 0.5 }'
    )
    (found,) = documents.read(text, Notation.TOML, where="a").definitions
    there = catalogue.load("tone")
    long = TELECOM + '[[evaluators]]\nuse = "resolution"\nlong_conversations = "{}"'
    (other,) = documents.read(long.format("no_verdict"), Notation.TOML, where="a").definitions

    assert (other.long_conversations, catalogue.load("resolution").long_conversations) == (
        LongConversations.NO_VERDICT, LongConversations.LAST,
    )  # fmt: skip
    assert "only a number" in problems(long.format("mean"))["evaluators.0.long_conversations"]
    assert (found.title, found.parameters.temperature) == ("Our tone", 0.5)
    assert (found.prompt, found.output, found.scope) == (there.prompt, there.output, there.scope)


@pytest.mark.parametrize("name", catalogue.names())
def test_every_definition_of_the_catalogue_can_be_an_apps_own(name: str) -> None:
    text = catalogue.to_toml(catalogue.load(name))
    app = documents.read(TELECOM + text, Notation.TOML, where="a")

    assert app.definitions == (catalogue.load(name),)
    assert documents.read(documents.to_toml(app), Notation.TOML, where="a") == app
    assert documents.read(documents.to_json(app), Notation.JSON, where="a") == app


TEXTS = st.sampled_from(["", "a", "{{transcript}}", "{{", "}}", "{{a}}", "KIND", "\x00", "\ud800"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-3, 99) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "kind", "use", "turns", "user", "bot"]), inner)
    ),
    max_leaves=5,
)
ENTRIES = st.fixed_dictionaries(
    {"name": st.just("manners") | TEXTS, "prompt": TEXTS, "output": st.fixed_dictionaries(
        {"kind": st.sampled_from([*OutputKind, "x"])},
        optional={"labels": st.just(["KIND", "RUDE"]) | VALUES, "good": VALUES,
                  "minimum": VALUES, "maximum": VALUES},
    ) | VALUES},
    optional={"scope": st.sampled_from(JudgedUnit) | VALUES,
              "shows": st.lists(st.sampled_from(TurnPart)) | VALUES, "gold": VALUES,
              "long_conversations": st.sampled_from(LongConversations) | VALUES,
              "applies_when": VALUES, "rules": VALUES, "use": st.just("tone") | VALUES},
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(ENTRIES | VALUES, min_size=1, max_size=2))
def test_whatever_comes_in_is_a_valid_app_or_named_mistakes(entries: list[Any]) -> None:
    document = tomllib.loads(TELECOM) | {"evaluators": entries}
    try:
        app = documents.from_document(document, where="a")
    except InvalidApp as refused:
        problems = refused.problems
        event("refused")
    else:
        problems = None
        event("accepted")
        assert documents.read(documents.to_json(app), Notation.JSON, where="a") == app
        assert all(each.prompt.strip() for each in app.definitions)
    assert problems is None or (problems and all(each.msg for each in problems))


def test_too_many_are_refused_in_time() -> None:
    document = tomllib.loads(TELECOM)
    rule = document["rules"][0]
    rules = [rule | {"rule_id": str(n), "scopes": [f"x{n}", "pii_leak"]} for n in range(1_000)]
    entries = [{"use": "tone", "name": f"x{n}"} for n in range(3_000)]
    started = time.perf_counter()
    with pytest.raises(InvalidApp) as refused:
        documents.from_document(document | {"evaluators": entries, "rules": rules}, where="a")

    assert time.perf_counter() - started < 5
    found = {apps.path_of(each): each.msg for each in refused.value.problems}
    assert found["evaluators"] == "there are 3000: 50 are allowed"
