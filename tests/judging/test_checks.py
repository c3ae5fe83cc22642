"""Checks: each kind passes what it should and nothing else, and no parameter is dangerous."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
from tests.apps.conftest import TELECOM

from evalqueue.evaluators import apps, expressions
from evalqueue.evaluators.apps import App, InvalidApp, documents
from evalqueue.evaluators.apps.checks import AnyCheck
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.conversation import ToolCall
from evalqueue.evaluators.judging.builtin import checks as builtin
from evalqueue.evaluators.judging.builtin.checks import ChecksEvaluator
from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.threads import coverage_of, score_rows
from evalqueue.evaluators.providers.errors import CallOutcome

Make = Callable[..., Any]
DOCUMENT = documents.read(TELECOM, Notation.TOML, where="telecom.toml")
SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string", "pattern": "^SO-[0-9]+$"}, "pattern": {}},
    "required": ["id"],
}
ORDER = "| Article | Price |\n|---|---|\n| Shirt | 19.90 € |\n| Socks | 5,10 € |\n| Total | {} |"
TRACK = ToolCall(name="track", arguments='{"id": "7", "full": true, "at": {"zip": "1"}}')


def app_with(*checks: dict[str, Any]) -> App:
    document = apps.to_document(DOCUMENT, with_defaults=False)
    return documents.from_document(document | {"checks": list(checks)}, where="a")


def mistakes(*checks: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidApp) as refused:
        app_with(*checks)
    return {".".join(map(str, each.loc)): each.msg for each in refused.value.problems}


@pytest.fixture
def evaluate(scripted: Make, thread: Make) -> Make:
    async def run(app: App, *turns: Any) -> Evaluation:
        calls = scripted(lambda *_: pytest.fail("an LLM was asked"))
        return await ChecksEvaluator(app).evaluate(thread(*turns), Judge(calls))

    return run


@pytest.mark.parametrize(
    ("check", "bot", "passed"),
    [
        ({"kind": "regex", "pattern": r"\bSO-\d{6}\b"}, "Order SO-204518.", True),
        ({"kind": "regex", "pattern": r"\bSO-\d{6}\b"}, "Order SO-20451.", False),
        ({"kind": "regex", "pattern": "sorry", "must_match": False}, "No idea.", True),
        ({"kind": "regex", "pattern": "sorry", "must_match": False}, "I am sorry.", False),
        ({"kind": "regex", "pattern": "SORRY", "ignore_case": True}, "I am sorry.", True),
        ({"kind": "regex", "pattern": "a.b"}, "aéb", True),
        ({"kind": "contains", "texts": ["yes", "Order"]}, "YES, order 7", True),
        ({"kind": "contains", "texts": ["yes", "no"]}, "Yes.", False),
        ({"kind": "contains", "texts": ["yes", "no"], "match": "any"}, "Yes.", True),
        ({"kind": "contains", "texts": ["no"], "match": "any"}, "Yes.", False),
        ({"kind": "contains", "texts": ["password"], "match": "none"}, "Your Password?", False),
        ({"kind": "contains", "texts": ["password"], "match": "none"}, "Your name?", True),
        ({"kind": "contains", "texts": ["Yes"], "ignore_case": False}, "yes", False),
        ({"kind": "equals", "text": "It’s 20 €."}, "**It's** 20 €.", True),
        ({"kind": "equals", "text": "It is 20 €."}, "It is 21 €.", False),
        ({"kind": "equals", "text": "Yes", "exact": True}, "yes", False),
        ({"kind": "equals", "text": "Yes", "exact": True}, " Yes\n", True),
        ({"kind": "equals"}, "In 2 days.", True),
        ({"kind": "equals"}, "In 3 days.", False),
        ({"kind": "json_schema", "schema": SCHEMA}, '{"id": "SO-1"}', True),
        ({"kind": "json_schema", "schema": SCHEMA}, 'Here:\n```json\n{"id": "SO-1"}\n```', True),
        ({"kind": "json_schema", "schema": SCHEMA}, '{"id": "1"}', False),
        ({"kind": "json_schema", "schema": SCHEMA}, '{"order": 1}', False),
        ({"kind": "json_schema", "schema": SCHEMA}, "Here you are.", False),
        ({"kind": "json_schema", "schema": SCHEMA}, "[" * 100_000, False),
        ({"kind": "json_schema", "schema": {"type": "number"}}, "NaN", False),
        ({"kind": "json_schema", "schema": {"multipleOf": 0.5}}, "9" * 400, True),
        ({"kind": "json_schema", "schema": {"uniqueItems": True}}, '[{"a": 1}, {"a": 1}]', False),
        ({"kind": "json_schema", "schema": {"uniqueItems": True}}, '[1, "1", true]', True),
        ({"kind": "sums", "column": "price"}, ORDER.format("**25.00 €**"), True),
        ({"kind": "sums", "column": "price"}, ORDER.format("26.00 €"), False),
        ({"kind": "sums", "column": "price", "tolerance": 1}, ORDER.format("26.00 €"), True),
        ({"kind": "sums", "column": "price", "tolerance_share": 0.1}, ORDER.format("26"), True),
        ({"kind": "sums", "column": "price"}, ORDER.format("to be seen"), None),
        ({"kind": "sums", "column": "kcal"}, ORDER.format("26.00 €"), None),
        ({"kind": "sums", "column": "price"}, "It costs 20 €.", None),
        ({"kind": "length", "maximum": 3}, "yes", True),
        ({"kind": "length", "maximum": 3}, "yes!", False),
        ({"kind": "length", "minimum": 3, "unit": "words"}, "one two", False),
        ({"kind": "length", "minimum": 2, "unit": "words"}, "one two", True),
        ({"kind": "language", "languages": ["en"]}, "Your order ships tomorrow.", True),
        ({"kind": "language", "languages": ["en", "de"]}, "Guten Tag! Gern geschehen.", True),
        ({"kind": "language", "languages": ["en"]}, "Su pedido se enviará mañana.", False),
        ({"kind": "language", "languages": ["ja"]}, "ご注文は明日発送されます。", True),
        ({"kind": "language", "languages": ["en"]}, "Ваш заказ будет отправлен завтра.", False),
        ({"kind": "language", "languages": ["en"]}, "OK", None),
        ({"kind": "language", "languages": ["en"]}, "SO-204518: 20 €, 180 kcal", None),
        ({"kind": "personal_data"}, "Write to bob@example.org.", False),
        ({"kind": "personal_data"}, "Call +49 30 1234567.", False),
        ({"kind": "personal_data", "data": ["cards"]}, "Call +49 30 1234567.", True),
        ({"kind": "personal_data"}, "We write to ann@example.org, call 030/98 76 54 3.", True),
        ({"kind": "personal_data", "allow_from_user": False}, "To ann@example.org.", False),
        ({"kind": "personal_data"}, "It is 20 € on 2025-01-15.", True),
        ({"kind": "tool_called", "tool": "track"}, "On its way.", True),
        ({"kind": "tool_called", "tool": "refund"}, "On its way.", False),
        ({"kind": "tool_called", "tool": "refund", "must_be_called": False}, "No.", True),
        ({"kind": "tool_called", "tool": "track", "arguments": {"id": "7"}}, "Yes.", True),
        ({"kind": "tool_called", "tool": "track", "arguments": {"id": 7}}, "Yes.", False),
        ({"kind": "tool_called", "tool": "track", "arguments": {"full": 1}}, "Yes.", False),
        ({"kind": "tool_called", "tool": "track", "arguments": {"at": {"zip": "1"}}}, "Y", True),
        ({"kind": "tool_called", "tool": "track", "arguments": {"at": {"zip": "2"}}}, "Y", False),
    ],
)  # fmt: skip
async def test_an_answer_is_passed_or_not_or_there_is_nothing_to_look_at(
    evaluate: Make, turn: Make, check: dict[str, Any], bot: str, passed: bool | None
):
    asked = "I am ann@example.org, 030 9876543. When?"
    only = turn(1, asked, bot, tool_calls=(TRACK,), expected="**in** 2  days.")

    found = await evaluate(app_with({"name": "it", **check}), only)

    rows = {row.name: row.value for row in score_rows(found)}
    assert rows == {"passed": passed, "it": passed}
    assert all(each["note"] for each in found.details)


@pytest.mark.parametrize(
    ("check", "known", "passed", "note"),
    [
        ({}, {"latency_seconds": 2.0}, True, "2 s"),
        ({}, {"latency_seconds": 2.001}, False, "2.001 s"),
        ({}, {"latency_seconds": 0.0}, True, "0 s"),
        ({}, {}, None, "Not measured: the data record no latency"),
        ({}, {"wait_seconds": 1.0}, None, "Not measured: the data record no latency"),
        ({"from_timestamps": True}, {}, None, "Not measured: the data record neither"),
        ({"from_timestamps": True}, {"wait_seconds": 1.0}, True, "1 s"),
        ({"from_timestamps": True}, {"wait_seconds": 3.0}, False, "3 s"),
        ({"from_timestamps": True}, {"wait_seconds": 3.0, "latency_seconds": 1.0}, True, "1 s"),
    ],
)  # fmt: skip
async def test_an_answer_takes_as_long_as_the_data_say_and_without_them_is_not_checked(
    evaluate: Make, turn: Make, check: dict[str, Any], known: dict[str, float],
    passed: bool | None, note: str,
):  # fmt: skip
    app = app_with({"name": "fast", "kind": "latency", "max_seconds": 2, **check})
    found = await evaluate(app, turn(1, **known))

    rows = {row.name: row for row in score_rows(found)}
    assert rows["passed"].value is passed
    assert rows["fast"].value is passed
    assert note in (rows["fast"].reasoning or "")


async def test_a_conversation_is_as_slow_as_its_slowest_answer(evaluate: Make, turn: Make):
    check = {"name": "fast", "kind": "latency", "max_seconds": 2, "scope": "conversation"}
    times = (turn(1, latency_seconds=1.0), turn(2, latency_seconds=5.0), turn(3))
    found = await evaluate(app_with(check), *times)

    (fast,) = [row for row in score_rows(found) if row.name == "fast"]
    assert fast.value is False
    assert fast.reasoning == (
        "It took 5 s; at most 2 s are wanted (of 3 answers, the latency of 2 is known)"
    )


async def test_a_conversation_with_an_unknown_latency_is_not_known_to_be_fast(
    evaluate: Make, turn: Make
):
    check = {"name": "fast", "kind": "latency", "max_seconds": 2, "scope": "conversation"}
    found = await evaluate(app_with(check), turn(1, latency_seconds=1.0), turn(2))

    rows = {row.name: (row.value, row.reasoning) for row in score_rows(found)}
    assert rows["passed"] == (None, "Not measured: fast")
    assert rows["fast"] == (
        None,
        "Not measured: It took 1 s; at most 2 s are wanted "
        "(of 2 answers, the latency of 1 is known)",
    )


NO_LATENCY = {"name": "fast", "kind": "latency", "max_seconds": 2}
NO_EXPECTED = {"name": "same", "kind": "equals"}
UNCLEAR = {"name": "english", "kind": "language", "languages": ["en"]}
NO_TABLE = {"name": "adds_up", "kind": "sums", "column": "kcal"}
PASSES = {"name": "short", "kind": "length", "maximum": 1_000}
FAILS = {"name": "long", "kind": "length", "minimum": 1_000}


@pytest.mark.parametrize(
    ("checks", "passed", "says"),
    [
        ([PASSES], True, None),
        ([PASSES, NO_LATENCY], None, "Not measured: fast"),
        ([PASSES, NO_EXPECTED], None, "Not measured: same"),
        ([FAILS, NO_LATENCY], False, "Failed: long; Not measured: fast"),
        ([PASSES, NO_TABLE], True, "Not applicable: adds_up"),
        ([PASSES, UNCLEAR], True, "Not applicable: english"),
        ([NO_TABLE, UNCLEAR], None, "Not applicable: adds_up, english"),
        ([NO_TABLE, NO_LATENCY], None, "Not measured: fast; Not applicable: adds_up"),
    ],
)
async def test_what_was_not_measured_is_no_pass_of_all_and_what_does_not_apply_is_left_out(
    evaluate: Make, turn: Make, checks: list[dict[str, Any]], passed: bool | None, says: str | None
):
    found = await evaluate(app_with(*checks), turn(1, "Hm?", "OK"))

    (all_together, *each) = score_rows(found)
    assert (all_together.value, all_together.reasoning) == (passed, says)
    assert {row.name for row in each} == {check["name"] for check in checks}
    assert all(row.reasoning for row in each)
    judged = [row for row in each if row.value is not None]
    unknown = [row for row in each if row.failure == "not_measured"]
    coverage = coverage_of(found)
    assert (coverage.judged, coverage.attempted) == (len(judged), len(judged) + len(unknown))
    assert {row.name for row in unknown} == {
        check["name"] for check in checks if check in (NO_LATENCY, NO_EXPECTED)
    }
    assert (all_together.failure == "not_measured") == (passed is None and bool(unknown))


@pytest.mark.parametrize(
    ("check", "result"),
    [
        ({"kind": "regex", "pattern": "sorry", "must_match": False}, "not_applicable"),
        ({"kind": "contains", "texts": ["no"], "match": "none"}, "not_applicable"),
        ({"kind": "equals", "text": "Yes"}, "not_applicable"),
        ({"kind": "json_schema", "schema": {}}, "not_applicable"),
        ({"kind": "sums", "column": "price"}, "not_applicable"),
        ({"kind": "length", "maximum": 9}, "not_applicable"),
        ({"kind": "language"}, "not_applicable"),
        ({"kind": "latency", "max_seconds": 1}, "not_measured"),
        ({"kind": "personal_data"}, "not_applicable"),
        ({"kind": "tool_called", "tool": "track"}, "passed"),
        ({"kind": "tool_called", "tool": "refund"}, "failed"),
    ],
)
async def test_an_answer_without_a_text_passes_no_check_of_texts(
    evaluate: Make, turn: Make, check: dict[str, Any], result: str
):
    only = turn(1, bot="", tool_calls=(TRACK,))

    found = await evaluate(app_with({"name": "it", **check}), only)

    assert [each["result"] for each in found.details] == [result]


def test_each_kind_of_check_is_seen_with_nothing_to_look_at():
    table = test_an_answer_without_a_text_passes_no_check_of_texts.pytestmark[0].args[1]

    kinds = {each.__annotations__["kind"].__args__[0] for each in get_args(AnyCheck)}
    assert {check["kind"] for check, _ in table} == kinds


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (ORDER.format("25.00 €"), "passed"),
        (ORDER.format("26.00 €"), "failed"),
        (ORDER.format("to be seen"), "not_measured"),
        ("| Article | Price |\n|---|---|\n| Shirt | 19.90 € |\n| Socks | 5 € |", "not_applicable"),
        ("It costs 20 €.", "not_applicable"),
    ],
)
async def test_a_table_without_a_total_has_no_sum_and_one_with_words_can_not_be_added_up(
    evaluate: Make, turn: Make, text: str, result: str
):
    check = {"name": "it", "kind": "sums", "column": "price"}

    found = await evaluate(app_with(check), turn(1, bot=text))

    assert [each["result"] for each in found.details] == [result]


@pytest.mark.parametrize(
    ("user", "bot", "passed"),
    [
        ("Wann wird meine Bestellung verschickt?", "Ihre Bestellung kommt am Freitag.", True),
        ("Wann wird meine Bestellung verschickt?", "Your order ships on Friday.", False),
        ("hm?", "Your order ships on Friday.", None),
    ],
)
async def test_an_answer_is_in_the_language_of_the_user(
    evaluate: Make, turn: Make, user: str, bot: str, passed: bool | None
):
    found = await evaluate(app_with({"name": "it", "kind": "language"}), turn(1, user, bot))

    rows = {row.name: row.value for row in score_rows(found)}
    assert rows.get("it") is passed


def test_a_language_is_named_by_its_code():
    found = mistakes({"name": "a", "kind": "language", "languages": ["en", "German"]})

    assert found == {"checks.0.languages.1": "write the code of ISO 639-1, as in 'en'"}


async def test_where_a_check_looks_is_its_scope(evaluate: Make, turn: Make):
    app = app_with(
        *(
            {"name": scope, "kind": "contains", "texts": ["yes"], "scope": scope}
            for scope in ("every_answer", "last_answer", "conversation")
        )
    )

    found = await evaluate(app, turn(1, bot="yes"), turn(2, bot="no"), turn(3, bot=" "))

    assert [(row.name, row.turn, row.value) for row in score_rows(found)] == [
        ("passed", None, False),
        ("every_answer", 1, True),
        ("every_answer", 2, False),
        ("last_answer", 2, False),
        ("conversation", None, True),
    ]
    assert {each["check"] for each in found.details} == {
        "every_answer", "last_answer", "conversation",
    }  # fmt: skip


async def test_what_shows_it_is_quoted_with_its_turn(evaluate: Make, turn: Make):
    app = app_with(
        {"name": "leaks", "kind": "personal_data", "scope": "conversation"},
        {"name": "order", "kind": "regex", "pattern": "SO-[0-9]+"},
    )

    found = await evaluate(app, turn(1, bot="Hello"), turn(2, bot="SO-7 of bob@example.org"))

    shown = {(row.name, row.turn): row.evidence for row in score_rows(found)}
    quote = {"turn": 2, "quote": "bob@example.org", "in_transcript": True}
    assert shown["leaks", None] == [quote]
    assert shown["order", 2] == [{"turn": 2, "quote": "SO-7", "in_transcript": True}]
    assert shown["order", 1] == []


def test_its_version_is_of_the_content_of_the_checks():
    one = {"name": "a", "kind": "contains", "texts": ["yes"]}
    spelt_out = one | {"match": "all", "scope": "every_answer"}
    versions = [
        ChecksEvaluator(app_with(each)).version
        for each in (one, spelt_out, one | {"texts": ["no"]}, one | {"name": "b"})
    ]

    assert versions[0] == versions[1]
    assert len(set(versions)) == 3
    other = replace(app_with(one), about="Something else.")
    assert ChecksEvaluator(other).version == versions[0]


@pytest.mark.parametrize(
    ("check", "path", "says"),
    [
        ({"kind": "regexp"}, "checks.0", "regex"),
        ({"kind": "regex", "pattern": "("}, "checks.0.pattern", "RE2 expression"),
        ({"kind": "regex", "pattern": r"(a)\1"}, "checks.0.pattern", "back-references"),
        ({"kind": "regex", "pattern": "(?=a)b"}, "checks.0.pattern", "look-around"),
        ({"kind": "regex", "pattern": ""}, "checks.0.pattern", "it is empty"),
        ({"kind": "regex", "pattern": "a" * 2_001}, "checks.0.pattern", "longer than"),
        ({"kind": "regex", "pattern": "(abcdefghij){900}"}, "checks.0.pattern", "too large"),
        ({"kind": "regex", "patern": "a"}, "checks.0.patern", "must_match"),
        ({"kind": "regex"}, "checks.0.pattern", "It is missing"),
        ({"kind": "contains", "texts": []}, "checks.0.texts", "at least one"),
        ({"kind": "contains", "texts": [" "]}, "checks.0.texts", "none may be empty"),
        ({"kind": "equals", "text": ""}, "checks.0.text", "leave it out"),
        ({"kind": "json_schema", "schema": {"type": "strong"}}, "checks.0.schema.type", "strong"),
        ({"kind": "json_schema", "schema": {"$ref": "http://127.0.0.1/"}},
         "checks.0.schema.$ref", "write the schema out"),
        ({"kind": "json_schema", "schema": {"items": {"anyOf": [{"$ref": "#"}]}}},
         "checks.0.schema.items.anyOf.0.$ref", "write the schema out"),
        ({"kind": "json_schema", "schema": {"patternProperties": {"(a+)+$": {}}}},
         "checks.0.schema.patternProperties", "not supported"),
        ({"kind": "json_schema", "schema": {"properties": {"a": {"pattern": r"(a)\1"}}}},
         "checks.0.schema.properties.a.pattern", "back-references"),
        ({"kind": "json_schema", "schema": {"const": None}}, "checks.0.schema", "null"),
        ({"kind": "json_schema", "schema": {"title": "x" * 20_000}}, "checks.0.schema", "longer"),
        ({"kind": "sums", "column": " "}, "checks.0.column", "it is empty"),
        ({"kind": "sums", "column": "a", "tolerance": -1}, "checks.0.tolerance", "Write 0 or more"),
        ({"kind": "length"}, "checks.0", "minimum, maximum or both"),
        ({"kind": "length", "minimum": 3, "maximum": 2}, "checks.0.maximum", "less than"),
        ({"kind": "personal_data", "data": []}, "checks.0.data", "emails, phones, cards"),
        ({"kind": "latency"}, "checks.0.max_seconds", "It is missing"),
        ({"kind": "latency", "max_seconds": 0}, "checks.0.max_seconds", "Write more than 0"),
        ({"kind": "latency", "max_ms": 5}, "checks.0.max_ms", "max_seconds"),
        ({"kind": "tool_called", "tool": "t", "arguments": {"a": [None]}},
         "checks.0.arguments", "null"),
        ({"name": "passed", "kind": "length", "minimum": 1}, "checks.0.name", "choose another"),
        ({"name": "No Name", "kind": "length", "minimum": 1}, "checks.0.name", "small letters"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_cure(check: dict[str, Any], path: str, says: str):
    assert says in mistakes({"name": "it", **check})[path]


def test_names_are_unique_and_checks_are_bounded():
    one = {"kind": "length", "minimum": 1}
    twice = mistakes({"name": "a", **one}, {"name": "a", **one})
    many = mistakes(*({"name": f"c{number}", **one} for number in range(51)))

    assert "'a' is there twice" in twice["checks"]
    assert "50 at most" in many["checks"]


def test_a_property_may_have_the_name_of_a_keyword():
    schema = {"type": "object", "properties": {"$ref": {"type": "string"}, "pattern": {}},
              "enum": [{"$ref": "x"}]}  # fmt: skip

    assert app_with({"name": "a", "kind": "json_schema", "schema": schema}).checks


def test_checks_are_written_and_read_in_every_notation():
    app = app_with(
        {"name": "a", "kind": "json_schema", "schema": SCHEMA},
        {"name": "b", "kind": "tool_called", "tool": "t", "arguments": {"at": {"zip": [1, 2]}}},
        {"name": "c", "kind": "personal_data", "data": ["emails"]},
        {"name": "d", "kind": "latency", "max_seconds": 2.5, "from_timestamps": True},
    )

    assert documents.read(documents.to_toml(app), Notation.TOML, where="a") == app
    assert documents.read(documents.to_json(app), Notation.JSON, where="a") == app
    assert documents.from_document(json.loads(documents.canonical(app)), where="a") == app


@pytest.mark.parametrize(
    "check",
    [
        {"kind": "regex", "pattern": "(a+)+$"},
        {"kind": "regex", "pattern": "(a|aa)+$"},
        {"kind": "regex", "pattern": "(.*a){20}b"},
        {"kind": "json_schema", "schema": {"items": {"pattern": "^(a+)+$"}}},
        {"kind": "json_schema", "schema": {"uniqueItems": True}},
        {"kind": "personal_data"},
        {"kind": "sums", "column": "a"},
        {"kind": "contains", "texts": ["a" * 20 + "b"]},
    ],
    ids=lambda check: check["kind"],
)
@pytest.mark.parametrize(
    "bot",
    ["a" * 200_000 + "!", "1 " * 100_000, "|a|\n|-|\n" * 20_000, "```" * 60_000,
     json.dumps([{"k": n} for n in range(8_000)]), json.dumps(["a" * 40_000 + "!"])],
    ids=["letters", "numbers", "tables", "fences", "objects", "strings"],
)  # fmt: skip
async def test_a_hostile_answer_or_parameter_takes_no_time(
    evaluate: Make, turn: Make, check: dict[str, Any], bot: str
):
    began = time.monotonic()

    found = await evaluate(app_with({"name": "it", **check}), turn(1, bot=bot))

    assert time.monotonic() - began < 8
    assert not found.failures


async def test_what_takes_too_long_is_not_measured_and_no_pass(
    evaluate: Make, turn: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(builtin, "SECONDS_MAX", -1.0)
    app = app_with({"name": "a", "kind": "length", "minimum": 1})

    found = await evaluate(app, turn(1), turn(2))

    assert found.headline is None
    assert [each.reason for each in found.failures] == [CallOutcome.TIMEOUT]
    assert [(row.name, row.failure) for row in score_rows(found)] == [("passed", "timeout")]


async def test_an_unanswered_conversation_has_nothing_to_check(evaluate: Make, turn: Make):
    app = app_with({"name": "a", "kind": "length", "minimum": 1, "scope": "conversation"})

    found = await evaluate(app, turn(1, bot="", error="HTTP 500"))

    assert (found.headline, found.details, found.failures) == (None, [], ())


def test_only_the_beginning_of_a_very_long_text_is_searched():
    text = " " * expressions.CHARACTERS_MAX + "needle"

    assert expressions.searched("needle", text) is None
    assert expressions.searched("needle", text[10:]) == "needle"
