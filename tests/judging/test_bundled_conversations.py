"""The bundled conversations, their gold labels and the bot's profile agree with one another.

Everything is read with the standard library, and the tables with a small parser of its own: a bug
in the product's readers cannot hide one in the data.
"""

import csv
import json
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from evalqueue import evaluators
from evalqueue.evaluators import verdicts
from evalqueue.evaluators.judging.builtin import correctness, efficiency
from evalqueue.evaluators.simulated import conversations

HEADER = (
    "thread_id,user_id,session_id,response_id,query_text,final_response_message,"
    "intent_detected,intent_query_type,timestamp,has_image,error_message"
)
MAY_BE_EMPTY = {"response_id", "intent_detected", "intent_query_type", "error_message"}
CHIPS = ['<chip id="confirm_log">', '<chip id="edit_meal">']
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
CONSUMED_AT = re.compile(r"Consumed at: (\d+:\d\d [AP]M, \d+ \w+ \d{4})")
Json = Any  # gold labels and profiles as the standard library reads them


@cache
def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@cache
def threads() -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read(conversations.kaira_csv()):
        found[row["thread_id"]].append(row)
    return dict(found)


@cache
def gold() -> Json:
    return json.loads(conversations.kaira_gold().read_text(encoding="utf-8"))


@cache
def app() -> Json:
    return tomllib.loads((files(evaluators) / "apps/kaira-bot.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One turn, and what gold says about it."""

    thread_id: str
    number: int
    row: dict[str, str]
    label: Json

    def __str__(self) -> str:
        return f"{self.thread_id} turn {self.number}"


def labelled(evaluator: str) -> Iterator[Labelled]:
    for thread_id, labels in gold()[evaluator].items():
        for number, label in labels.items():
            row = threads()[thread_id][int(number) - 1]
            yield Labelled(thread_id=thread_id, number=int(number), row=row, label=label)


def summaries() -> list[Labelled]:
    """The turns with a meal to be checked: those gold calls a meal summary."""
    return [it for it in labelled("correctness") if it.label["verdict"] != "NOT_APPLICABLE"]


def is_marked(row: dict[str, str]) -> bool:
    text = row["final_response_message"].lower()
    return any(marker in text for marker in app()["meal_summary"]["markers"])


def rules_of(scope: str) -> set[str]:
    return {rule["rule_id"] for rule in app()["rules"] if scope in rule["scopes"]}


def names(vocabulary: type[StrEnum]) -> set[str]:
    """Judges spell the values with underscores, which is how the members are named."""
    return set(vocabulary.__members__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    kcal: float
    protein: float
    carbs: float
    fat: float

    @property
    def macro_kcal(self) -> float:
        return 4 * self.protein + 4 * self.carbs + 9 * self.fat


@dataclass(frozen=True, slots=True, kw_only=True)
class Meal:
    foods: list[Figures]
    total: Figures


def tables(text: str) -> Iterator[list[list[str]]]:
    """Every pipe table of a text: its header and its rows, as cells without emphasis."""
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        lines = [[c.strip(" *") for c in line.split("|")[1:-1]] for line in block.splitlines()]
        yield [lines[0], *lines[2:]]


def figures(cells: Iterable[str]) -> Figures:
    values = [float(found.group().replace(",", "")) for c in cells if (found := NUMBER.search(c))]
    kcal, protein, carbs, fat = values
    return Figures(kcal=kcal, protein=protein, carbs=carbs, fat=fat)


def meals(text: str) -> list[Meal]:
    """One meal per table of foods; a lone table of nutrients is a meal of one food."""
    of_foods = [table[1:] for table in tables(text) if table[0][0] == "Food"]
    if of_foods:
        rows = [[figures(row[2:]) for row in table] for table in of_foods]
        return [Meal(foods=row[:-1], total=row[-1]) for row in rows]
    (nutrients,) = tables(text)
    only = figures(row[1] for row in nutrients[1:])
    return [Meal(foods=[only], total=only)]


def adds_up(meal: Meal) -> bool:
    bounds = app()["bounds"]
    share = bounds["items_sum_tolerance_share"] * meal.total.kcal
    difference = abs(sum(food.kcal for food in meal.foods) - meal.total.kcal)
    return difference <= max(bounds["items_sum_tolerance_kcal"], share)


def macros_fit(meal: Meal) -> bool:
    tolerance = app()["bounds"]["macro_tolerance_share"] * meal.total.kcal
    return abs(meal.total.macro_kcal - meal.total.kcal) <= tolerance


def test_there_are_48_threads_with_150_turns_or_more_and_a_sample_of_five() -> None:
    sample = {row["thread_id"] for row in read(conversations.sample_csv())}

    assert len(threads()) == 48
    assert sum(map(len, threads().values())) >= 150
    assert len(sample) == 5
    assert not sample & set(threads())
    assert all(len({row["user_id"] for row in rows}) == 1 for rows in threads().values())


@pytest.mark.parametrize("path", [conversations.kaira_csv(), conversations.sample_csv()])
def test_rows_have_the_eleven_columns_and_no_empty_cell_that_must_be_filled(path: Path) -> None:
    for row in read(path):
        assert ",".join(row) == HEADER
        assert all(row[name] for name in row if name not in MAY_BE_EMPTY), row
        assert row["has_image"] in {"0", "1"}


@pytest.mark.parametrize("path", [conversations.kaira_csv(), conversations.sample_csv()])
def test_time_runs_forward_and_every_response_has_its_own_id(path: Path) -> None:
    times = [datetime.fromisoformat(row["timestamp"]) for row in read(path)]
    responses = [row["response_id"] for row in read(path) if row["response_id"]]

    assert all(time.utcoffset() == timedelta(hours=5, minutes=30) for time in times)
    assert times == sorted(times)
    assert times[-1] - times[0] <= timedelta(days=10)
    assert len(set(responses)) == len(responses)


def test_the_texts_are_as_mixed_as_real_ones() -> None:
    rows = read(conversations.kaira_csv())
    users_say = " ".join(row["query_text"] for row in rows)

    assert re.search("[\u0900-\u097f]", users_say), "Devanagari"
    assert re.search("[\u0a80-\u0aff]", users_say), "Gujarati"
    assert re.search("[\U0001f300-\U0001faff]", users_say), "emoji"
    assert re.search(r"\b(khaya|kya|haan)\b", users_say), "Hinglish"
    assert any("\n" in row["final_response_message"] for row in rows)
    assert sum(row["has_image"] == "1" for row in rows) >= 5
    assert sum(row["error_message"] != "" for row in rows) >= 5


def test_production_routed_mostly_right_and_not_always() -> None:
    found = Counter[str]()
    for it in labelled("intent"):
        routed = it.row["intent_detected"]
        right = routed == it.label["predicted_agent"]
        found["right" if right else "wrong" if routed else "missing"] += 1
        found["no query type"] += not it.row["intent_query_type"]

    assert 0.85 <= found["right"] / (found["right"] + found["wrong"]) <= 0.95
    assert found["missing"] >= 3
    assert found["no query type"] > found["missing"]


def test_no_meal_lies_in_the_future_but_the_one_that_breaks_the_rule() -> None:
    too_late = {
        it.thread_id
        for it in summaries()
        for stated in CONSUMED_AT.findall(it.row["final_response_message"])
        if datetime.strptime(f"{stated} +0530", "%I:%M %p, %d %b %Y %z")
        > datetime.fromisoformat(it.row["timestamp"])
    }
    broke_the_rule = {
        thread_id
        for thread_id, label in gold()["efficiency"].items()
        for rule in label["rule_compliance"]
        if (rule["rule_id"], rule["status"]) == ("reject_future_meal", "VIOLATED")
    }

    assert too_late == broke_the_rule != set()


def test_gold_labels_exactly_what_there_is_to_judge() -> None:
    turns = {(it.thread_id, it.number) for it in labelled("intent")}
    marked = {
        (thread_id, number)
        for thread_id, rows in threads().items()
        for number, row in enumerate(rows, 1)
        if is_marked(row)
    }

    assert set(gold()) == {"intent", "correctness", "efficiency"}
    assert turns == {(key, n) for key, rows in threads().items() for n in range(1, len(rows) + 1)}
    assert {(it.thread_id, it.number) for it in labelled("correctness")} == marked
    assert set(gold()["efficiency"]) == set(threads())


def test_every_intent_and_query_type_of_the_menu_occurs_in_gold_and_in_production() -> None:
    intents = {intent["name"] for intent in app()["intents"]}
    query_types = {kind["name"] for kind in app()["query_types"]}
    rows = read(conversations.kaira_csv())

    assert {it.label["predicted_agent"] for it in labelled("intent")} == intents
    assert {it.label["query_type"] for it in labelled("intent")} == query_types
    assert {row["intent_detected"] for row in rows} - {""} == intents
    assert {row["intent_query_type"] for row in rows} - {""} == query_types


def test_every_value_of_every_vocabulary_occurs() -> None:
    labels: list[Json] = list(gold()["efficiency"].values())
    frictions: list[Json] = [friction for label in labels for friction in label["friction_turns"]]

    assert {label["verdict"] for label in labels} == names(efficiency.Efficiency)
    assert {label["thread_type"] for label in labels} == set(verdicts.ThreadType)
    assert {label["recovery_quality"] for label in labels} == names(efficiency.Recovery)
    reasons = {label["incomplete_reason"] for label in labels}
    assert reasons - {None} == names(efficiency.IncompleteReason)
    assert {friction["cause"] for friction in frictions} == names(efficiency.FrictionCause)
    assert {it.label["verdict"] for it in labelled("correctness")} == names(correctness.Correctness)


def test_every_rule_is_followed_somewhere_and_violated_somewhere() -> None:
    seen: dict[str, set[str]] = {"FOLLOWED": set(), "VIOLATED": set(), "NOT_APPLICABLE": set()}
    labels = [it.label for it in labelled("correctness")] + list(gold()["efficiency"].values())
    for label in labels:
        for rule in label["rule_compliance"]:
            seen[rule["status"]].add(rule["rule_id"])

    every = {*rules_of("correctness"), *rules_of("efficiency")}
    assert seen["FOLLOWED"] == every
    assert seen["VIOLATED"] == every


def test_each_evaluator_judges_each_of_its_own_rules_once_and_says_why() -> None:
    for it in labelled("correctness"):
        ids = [rule["rule_id"] for rule in it.label["rule_compliance"]]
        assert sorted(ids) == sorted(rules_of("correctness")), it
    for thread_id, label in gold()["efficiency"].items():
        ids = [rule["rule_id"] for rule in label["rule_compliance"]]
        meal = label["thread_type"] == "meal_logging"
        assert sorted(ids) == (sorted(rules_of("efficiency")) if meal else []), thread_id
        assert all(rule["evidence"] for rule in label["rule_compliance"]), thread_id


def test_quotes_stand_in_the_turn_they_are_said_to_come_from() -> None:
    for it in labelled("intent"):
        assert it.label["evidence"] in it.row["query_text"], it
        assert it.label["reasoning"], it
    per_thread = [(it.thread_id, it.label) for it in labelled("correctness")]
    for thread_id, label in [*per_thread, *gold()["efficiency"].items()]:
        assert label["evidence"], thread_id
        assert label["reasoning"], thread_id
        for quote in label["evidence"]:
            turn: int = quote["turn"]
            row = threads()[thread_id][turn - 1]
            assert quote["quote"] in row["query_text"] + "\n" + row["final_response_message"]


def test_the_numbers_of_gold_are_those_of_the_tables() -> None:
    for it in summaries():
        stated = it.label["arithmetic_consistency"]
        shown = meals(it.row["final_response_message"])

        assert stated["stated_total_kcal"] == sum(meal.total.kcal for meal in shown), it
        items = sum(food.kcal for meal in shown for food in meal.foods)
        assert stated["items_sum_kcal"] == items, it
        macro_kcal = sum(meal.total.macro_kcal for meal in shown)
        assert stated["macro_calories_estimate"] == pytest.approx(macro_kcal, abs=1), it
        consistent = all(adds_up(meal) and macros_fit(meal) for meal in shown)
        assert stated["consistent"] is consistent, it


def test_a_pass_is_right_in_every_respect() -> None:
    for it in summaries():
        if it.label["verdict"] != "PASS":
            continue
        assert it.label["arithmetic_consistency"]["consistent"], it
        assert it.label["calorie_sanity"]["plausible"], it
        assert it.label["quantity_coherence"] == {"mismatches": [], "coherent": True}, it
        statuses = {rule["status"] for rule in it.label["rule_compliance"]}
        assert "VIOLATED" not in statuses, it


def test_a_fail_has_a_reason_that_can_be_pointed_at() -> None:
    for it in summaries():
        if it.label["verdict"] == "PASS":
            continue
        violated = any(rule["status"] == "VIOLATED" for rule in it.label["rule_compliance"])
        inconsistent = not it.label["arithmetic_consistency"]["consistent"]
        mismatched = not it.label["quantity_coherence"]["coherent"]
        implausible = not it.label["calorie_sanity"]["plausible"]
        assert violated or inconsistent or mismatched or implausible, it
        assert implausible is (it.label["verdict"] == "CRITICAL"), it


def test_both_kinds_of_wrong_arithmetic_occur() -> None:
    shown = [meal for it in summaries() for meal in meals(it.row["final_response_message"])]

    assert any(not adds_up(meal) for meal in shown)
    assert any(adds_up(meal) and not macros_fit(meal) for meal in shown)
    assert any(meal.total.kcal >= app()["bounds"]["kcal_always_wrong_from"] for meal in shown)


def test_rules_on_form_are_labelled_as_the_text_has_it() -> None:
    for it in summaries():
        text = it.row["final_response_message"]
        status = {rule["rule_id"]: rule["status"] for rule in it.label["rule_compliance"]}
        foods = [len(meal.foods) for meal in meals(text)]
        breakdowns = sum(table[0][0] == "Nutrient" for table in tables(text))
        if max(foods) == 1:
            lone = breakdowns == 0 or len(list(tables(text))) == 1
            assert status["single_item_one_table"] == ("FOLLOWED" if lone else "VIOLATED"), it
        else:
            full = breakdowns == sum(count for count in foods if count > 1)
            assert status["multi_food_multi_tables"] == ("FOLLOWED" if full else "VIOLATED"), it
        chips = all(chip in text for chip in CHIPS)
        assert status["require_xml_chips"] == ("FOLLOWED" if chips else "VIOLATED"), it


def test_what_gold_calls_no_summary_holds_no_table_and_answers_about_past_days_are_unmarked() -> (
    None
):
    for it in labelled("correctness"):
        if it.label["verdict"] == "NOT_APPLICABLE":
            assert not list(tables(it.row["final_response_message"])), it
    for it in labelled("intent"):
        if it.label["predicted_agent"] == "FoodInsightAgent":
            assert not is_marked(it.row), it


def test_efficiency_verdicts_follow_from_what_gold_says_happened() -> None:
    for thread_id, label in gold()["efficiency"].items():
        causes = {friction["cause"] for friction in label["friction_turns"]}
        verdict, completed = label["verdict"], label["task_completed"]
        meal = label["thread_type"] == "meal_logging"

        assert (verdict == "NOT_APPLICABLE") is not meal, thread_id
        for friction in label["friction_turns"]:
            row = threads()[thread_id][int(friction["turn"]) - 1]
            # A photo's vagueness is nobody's fault: evaluators excuse the bot on such turns.
            assert (row["has_image"], friction["cause"]) != ("1", "BOT"), thread_id
        if not meal:
            continue
        assert completed is (verdict in {"EFFICIENT", "ACCEPTABLE", "FRICTION"}), thread_id
        assert ("BOT" in causes) is (verdict in {"FRICTION", "BROKEN"}), thread_id
        assert (label["incomplete_reason"] is not None) is (verdict == "INCOMPLETE"), thread_id
        assert (label["failure_reason"] is not None) is (verdict == "BROKEN"), thread_id
        needed = label["recovery_quality"] != "NOT_NEEDED"
        assert needed is (verdict in {"FRICTION", "BROKEN"}), thread_id
        if verdict == "EFFICIENT":
            ideal = app()["efficiency"]["ideal_turns"]
            assert len(threads()[thread_id]) <= ideal, thread_id
        if verdict == "ACCEPTABLE":
            assert causes == {"USER"}, thread_id
