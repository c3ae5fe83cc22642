"""Apps as text: every notation gives the same app, and a mistake is named with its place and cure.

The door is fuzzed: whatever comes in, it is an app that can be stored and read again, or it is
refused with the places of its mistakes.
"""

import json
from typing import Any

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.apps.conftest import TELECOM

from evalqueue import codec
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, InvalidApp, documents, drafts
from evalqueue.evaluators.apps.documents import MAX_BYTES, Notation


def problems(text: str, notation: Notation = Notation.TOML) -> dict[str, str]:
    with pytest.raises(InvalidApp) as refused:
        documents.read(text, notation, where="my.app")
    return {apps.path_of(each): each.msg for each in refused.value.problems}


@pytest.mark.parametrize("app_id", [*apps.known(), "telecom"])
def test_every_notation_gives_the_same_app(app_id: str, telecom: App) -> None:
    app = telecom if app_id == "telecom" else apps.load(app_id)
    in_yaml = yaml.safe_dump(apps.to_document(app, with_defaults=False), allow_unicode=True)

    assert documents.read(documents.to_toml(app), Notation.TOML, where="a") == app
    assert documents.read(documents.to_json(app), Notation.JSON, where="a") == app
    assert documents.read(in_yaml, Notation.YAML, where="a") == app


def test_the_digest_is_of_what_is_said_and_not_of_how_it_is_written(
    telecom: App, document: dict[str, Any]
) -> None:
    turned = dict(reversed(document.items()))
    spelt_out = document | {"efficiency": {"ideal_turns": 2}}
    other = document | {"about": "Support."}

    assert documents.digest(documents.from_document(turned, where="a")) == documents.digest(telecom)
    assert documents.digest(documents.from_document(spelt_out, where="a")) == (
        documents.digest(telecom)
    )
    assert documents.digest(documents.from_document(other, where="a")) != documents.digest(telecom)


KNOWLEDGE = """
[[knowledge]]
name = "Prices"
text = "20 euro"
"""


@pytest.mark.parametrize(
    ("wrong", "path", "says"),
    [
        (TELECOM.replace('"telecom"', '"My Shop"'), "app_id", "use small letters"),
        (TELECOM.replace('"telecom"', '"a/b"'), "app_id", "use small letters"),
        (TELECOM + 'severity = "x"', "rules.0.severity", "Keys here: rule_id, section"),
        (
            TELECOM.replace('["efficiency"]', '["adversarial"]'),
            "rules.0.scopes",
            "[difficult_users] for 'adversarial'",
        ),
        (
            TELECOM.replace("has_efficiency = true", ""),
            "rules.0.scopes",
            "a thread type with has_efficiency = true",
        ),
        (TELECOM.replace('"Network"', '"Billing"'), "intents", "'Billing' is there twice"),
        (TELECOM + KNOWLEDGE * 2, "knowledge", "'Prices' is there twice"),
        (TELECOM + KNOWLEDGE.replace("20 euro", ""), "knowledge.0.text", "the text is empty"),
        (TELECOM + KNOWLEDGE.replace("20 euro", "euro " * 10_001), "knowledge", "50,000 at most"),
        (TELECOM + KNOWLEDGE.replace("text", "body"), "knowledge.0.body", "Keys here: name, text"),
        (TELECOM.replace('"Network"', f'"{"n" * 201}"'), "intents.1", "longer than 200"),
        (TELECOM.replace('"Support of', '"\\u0000Support of'), "", "can't be stored"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_cure(wrong: str, path: str, says: str) -> None:
    assert says in problems(wrong)[path]


@pytest.mark.parametrize(
    ("text", "notation", "says"),
    [
        ("a: &x [1]\nb: *x", Notation.YAML, "line 1: anchors and aliases"),
        ("a: 1\na: 2", Notation.YAML, "a key is there twice"),
        ("!!python/object/apply:os.system [id]", Notation.YAML, "could not determine"),
        ("[" * 10_000, Notation.YAML, "nested too deeply"),
        ("- [", Notation.YAML, "expected the node content"),
        ('{"a": 1, "a": 2}', Notation.JSON, "The key 'a' is there twice"),
        ('{"a": NaN}', Notation.JSON, "NaN is not a JSON value"),
        ("[" * 100_000, Notation.JSON, "nested too deeply"),
        ("1" * 5_000, Notation.JSON, "limit"),
        ("{" + '"a":{' * 30 + "}" * 31, Notation.JSON, "nested deeper than 20 levels"),
        ("a = ", Notation.TOML, "Invalid value"),
        ("a = " + "[" * 5_000, Notation.TOML, "recursion"),
        ("#" * (MAX_BYTES + 1), Notation.TOML, "larger than 256 KiB"),
        ("é" * (MAX_BYTES // 2 + 1), Notation.JSON, "larger than 256 KiB"),
    ],
)
def test_hostile_text_is_refused(text: str, notation: Notation, says: str) -> None:
    assert says in problems(text, notation)[""]


@pytest.mark.parametrize("figure", ["inf", "nan", "-inf"])
def test_numbers_are_finite(figure: str) -> None:
    bounds = "\n".join(f"{name} = {figure}" for name in apps.Bounds.__dataclass_fields__)

    assert len(problems(f"{TELECOM}\n[bounds]\n{bounds}")) == len(apps.Bounds.__dataclass_fields__)


def test_the_starter_is_an_app_and_explains_itself() -> None:
    text = drafts.starter("my-bot")

    assert apps.parse(text, where="a").app_id == "my-bot"
    assert text.count("#") > 10


@given(
    labels=st.dictionaries(st.text(max_size=200).map(codec.clean_text), st.integers(1, 10**9)),
    source=st.text(),
)
def test_a_draft_has_the_labels_on_record_as_its_intents(
    labels: dict[str, int], source: str
) -> None:
    usable = [label for label in labels if label.strip()][:100]
    app = apps.parse(drafts.from_labels("my-bot", labels, source=source).as_toml(), where="a")

    assert usable in ([each.name for each in app.intents], [])


@given(name=st.text())
def test_a_draft_is_named_after_its_dataset(name: str) -> None:
    assert apps.parse(drafts.starter(drafts.id_from(name)), where="a")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
KEYS = st.sampled_from([*App.__dataclass_fields__, "surplus"])


@settings(max_examples=300)
@given(changed=st.dictionaries(KEYS, JSON, max_size=4))
def test_any_document_is_an_app_that_can_be_stored_or_is_refused(changed: dict[str, Any]) -> None:
    import tomllib

    document = tomllib.loads(TELECOM) | changed
    try:
        app = documents.from_document(document, where="a")
    except InvalidApp as error:
        event(f"refused in {apps.path_of(error.problems[0]).partition('.')[0]}")
        return
    canonical = documents.canonical(app)
    assert "\\u0000" not in canonical
    assert documents.from_document(json.loads(canonical), where="a") == app
    assert documents.read(documents.to_toml(app), Notation.TOML, where="a") == app


@settings(max_examples=300)
@given(text=st.text(), notation=st.sampled_from(Notation))
def test_any_text_is_read_or_refused(text: str, notation: Notation) -> None:
    assert problems(text, notation)


def test_what_differs_is_shown_by_its_path(document: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(document))
    changed["intents"][0]["description"] = "Money."
    changed["intents"].append({"name": "Contract", "description": "Plans."})
    del changed["rules"]

    assert documents.changes(document, document) == []
    assert documents.changes(document, changed) == [
        '- rules[no_data_of_others].rule_id: "no_data_of_others"',
        '- rules[no_data_of_others].section: "Privacy"',
        '- rules[no_data_of_others].text: "Nothing is said about another customer."',
        '- rules[no_data_of_others].scopes: ["efficiency"]',
        '- intents[Billing].description: "Invoices and payments."',
        '+ intents[Billing].description: "Money."',
        '+ intents[Contract].name: "Contract"',
        '+ intents[Contract].description: "Plans."',
    ]
