"""People label conversations of a run, and its rates are corrected by it."""

import csv
import io
import json
import math
import os
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from costing import query, repeated
from forking import Command
from pydantic import ValidationError

from evalqueue.errors import Refused
from evalqueue.evaluators.labels import store
from evalqueue.evaluators.labels.calibrate import (
    Half,
    RunCalibration,
    ScoreCalibration,
    calibration,
)
from evalqueue.evaluators.labels.store import InvalidLabels, NewLabel
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour

GOOD = {"EFFICIENT", "ACCEPTABLE"}
NEUTRAL = "NOT APPLICABLE"


def evalqueue(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command; forked, because importing the program takes longer than the command."""
    environment = os.environ | {"DATABASE_URL": dsn}
    command = Command.start(arguments, stdin="", environment=environment, folder=Path.cwd())
    return subprocess.CompletedProcess(arguments, *command.wait())


def truth(gold: Mapping[str, Any]) -> dict[str, str]:
    """The right efficiency verdict of each conversation."""
    threads = gold["efficiency"].items()
    return {thread_id: found["verdict"].replace("_", " ") for thread_id, found in threads}


def lenient(gold: Mapping[str, Any]) -> dict[str, Any]:
    """What a judge answers that calls most conversations efficient which are not."""
    found = deepcopy(dict(gold))
    bad = [e for e in found["efficiency"].values() if e["verdict"] in {"FRICTION", "BROKEN"}]
    for number, each in enumerate(bad):
        if number % 4:
            each["verdict"] = "EFFICIENT"
    return found


def label(thread_id: str, value: str, **others: Any) -> NewLabel:
    given = {"evaluator": "efficiency", "labelled_by": "ann", "is_random": True}
    return NewLabel(**(given | {"thread_id": thread_id, "value": value} | others))


async def added(database: Database, run_id: UUID, *labels: NewLabel) -> int:
    async with database.connection() as connection:
        run = await store.labelled_run(connection, run_id, owner=None)
        assert run is not None
        return await store.add(connection, run, labels)


async def calibrated(
    database: Database, run_id: UUID, half: Half | None = None
) -> ScoreCalibration:
    async with database.connection() as connection:
        run = await store.labelled_run(connection, run_id, owner=None)
        assert run is not None
        found: RunCalibration = await calibration(connection, run, half=half)
    return next(each for each in found.scores if each.evaluator == "efficiency")


async def test_a_sample_is_drawn_labelled_and_corrects_the_rate(
    judged: Any, dsn: str, tmp_path: Path
) -> None:
    text, gold = repeated(6)
    right = truth(gold)
    run_id = str(await judged(Behaviour(gold=lenient(gold)), csv_content=text))

    ask = ("labels", "sample", run_id, "--evaluator", "efficiency", "--by", "ann", "--size", "100")
    drawn = evalqueue(dsn, *ask)
    assert drawn.returncode == 0, drawn.stderr
    assert "100 conversations. Fill in the column value: EFFICIENT, ACCEPTABLE" in drawn.stderr
    rows = list(csv.DictReader(io.StringIO(drawn.stdout)))
    assert len(rows) == 100
    assert all("User: " in row["conversation"] for row in rows)
    assert "FRICTION" not in drawn.stdout.replace(drawn.stdout.splitlines()[0], "")
    smaller = evalqueue(dsn, *ask[:-1], "20")
    assert list(csv.DictReader(io.StringIO(smaller.stdout))) == rows[:20]

    path = tmp_path / "ann.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"value": right[row["thread_id"]].lower()} for row in rows[:90])
        writer.writerows(rows[90:])
    first = json.loads(evalqueue(dsn, "labels", "add", str(path), "--run", run_id, "--json").stdout)
    assert first == {"added": 90, "unchanged": 0, "without_value": 10}
    again = json.loads(evalqueue(dsn, "labels", "add", str(path), "--run", run_id, "--json").stdout)
    assert again == {"added": 0, "unchanged": 90, "without_value": 10}
    left = evalqueue(dsn, *ask)
    assert [row["thread_id"] for row in csv.DictReader(io.StringIO(left.stdout))] == [
        row["thread_id"] for row in rows[90:]
    ]
    listed = json.loads(evalqueue(dsn, "labels", "list", "--run", run_id, "--json").stdout)
    assert {each["value"] for each in listed} <= set(right.values())
    assert len(listed) == 90

    shown = json.loads(evalqueue(dsn, "calibrate", run_id, "--json").stdout)
    efficiency = next(each for each in shown["scores"] if each["evaluator"] == "efficiency")
    applicable = [value for value in right.values() if value != NEUTRAL]
    true_rate = sum(value in GOOD for value in applicable) / len(applicable)
    judged_rate, corrected = efficiency["judged"], efficiency["corrected"]
    assert not judged_rate["low"] <= true_rate <= judged_rate["high"]
    assert corrected["low"] <= true_rate <= corrected["high"]
    assert abs(corrected["share"] - true_rate) < abs(judged_rate["share"] - true_rate)
    assert efficiency["judge_agreement"]["value"] < 0.8
    assert sum(pair["times"] for pair in efficiency["confusion"]) == 90
    alike = [each for each in efficiency["confusion"] if each["label"] == each["judged"]]
    correct = sum(each["times"] for each in alike if each["label"] != NEUTRAL)
    odds = (correct + 1) / (efficiency["random"] - correct + 1)
    assert efficiency["panel_weight"] == round(math.log(odds), 2) > 0
    in_words = evalqueue(dsn, "calibrate", run_id).stdout
    assert f"weight in a panel: {efficiency['panel_weight']:.2f}\n" in in_words
    assert f"by {efficiency['random']} random labels" in in_words
    assert "uncalibrated: None of its labels" not in in_words.split("Efficiency")[1]


async def test_a_label_is_superseded_and_never_changed(judged: Any, database: Database) -> None:
    run_id = await judged(Behaviour(), total_items=5)
    (thread_id,) = (await query(database, "SELECT min(thread_id) FROM thread_evaluations"))[0]
    assert await added(database, run_id, label(thread_id, "broken")) == 1
    assert await added(database, run_id, label(thread_id, "BROKEN")) == 0
    assert await added(database, run_id, label(thread_id, "friction", note="on reflection")) == 1
    assert await query(database, "SELECT label FROM labels ORDER BY id") == [
        ("BROKEN",), ("FRICTION",),
    ]  # fmt: skip
    async with database.connection() as connection:
        run = await store.labelled_run(connection, run_id, owner=None)
        assert run is not None
        (current,) = await store.current(connection, run)
    assert (current.value, current.note) == ("FRICTION", "on reflection")


async def test_people_who_disagree_are_left_out_until_someone_decides(
    judged: Any, database: Database
) -> None:
    run_id = await judged(Behaviour(), total_items=48)
    rows = await query(
        database, "SELECT thread_id FROM scores WHERE evaluator = 'efficiency' "
        "AND turn IS NULL AND value_text <> 'NOT APPLICABLE' ORDER BY 1"
    )  # fmt: skip
    threads = [thread_id for (thread_id,) in rows]
    labels = [label(each, "EFFICIENT") for each in threads]
    labels += [label(each, "EFFICIENT", labelled_by="bob") for each in threads[1:]]
    labels.append(label(threads[0], "BROKEN", labelled_by="bob"))
    await added(database, run_id, *labels)
    split = await calibrated(database, run_id)
    assert (split.labelled, split.left_out) == (len(threads) - 1, 1)
    assert split.people_agreement is not None
    assert split.people_agreement.value < 1

    decision = label(threads[0], "BROKEN", labelled_by="eve", adjudicates=True)
    await added(database, run_id, decision)
    decided = await calibrated(database, run_id)
    assert (decided.labelled, decided.left_out) == (len(threads), 0)
    assert decided.people_agreement == split.people_agreement
    halves = [await calibrated(database, run_id, half) for half in Half]
    assert sum(each.labelled for each in halves) == decided.labelled
    assert all(each.labelled for each in halves)


async def test_chosen_conversations_correct_nothing(judged: Any, database: Database) -> None:
    run_id = await judged(Behaviour(), total_items=48)
    rows = await query(database, "SELECT thread_id FROM thread_evaluations")
    await added(database, run_id, *[label(each, "EFFICIENT", is_random=False) for (each,) in rows])
    found = await calibrated(database, run_id)
    assert found.corrected is None
    assert found.reason == "0 of the 30 random labels that a correction needs"
    assert found.panel_weight is None
    assert found.judge_agreement is not None


async def test_labels_hold_for_every_run_over_the_same_conversations(
    judged: Any, database: Database
) -> None:
    first = await judged(Behaviour(), total_items=48)
    rows = await query(database, "SELECT thread_id FROM thread_evaluations")
    await added(database, first, *[label(each, "EFFICIENT") for (each,) in rows])
    worse = await judged(Behaviour(error_rate=0.5), total_items=48)
    before, after = await calibrated(database, first), await calibrated(database, worse)
    assert before.labelled > 0
    assert after.confusion != before.confusion
    text, _ = repeated(1)  # the same conversations under other names
    elsewhere = await judged(Behaviour(), csv_content=text)
    assert (await calibrated(database, elsewhere)).labelled == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"evaluator": "manners"}, "no evaluator 'manners'. Its evaluators: "),
        ({"name": "charm"}, "no score 'charm'"),
        ({"value": "splendid"}, "'splendid' is not one of EFFICIENT, ACCEPTABLE"),
        ({"thread_id": "thr_none"}, "The run has no conversation 'thr_none'"),
        ({"evaluator": "intent", "name": "accuracy"}, "is a number"),
    ],
)
async def test_one_wrong_label_stores_none(
    wrong: Mapping[str, str], message: str, judged: Any, database: Database
) -> None:
    run_id = await judged(Behaviour(), total_items=3)
    rows = await query(database, "SELECT thread_id FROM thread_evaluations ORDER BY 1")
    threads = [thread_id for (thread_id,) in rows]
    bad = label(threads[1], "EFFICIENT").model_copy(update=wrong)
    with pytest.raises(InvalidLabels, match=r"labels\.1\.") as caught:
        await added(database, run_id, label(threads[0], "EFFICIENT"), bad)
    assert message in str(caught.value)
    assert await query(database, "SELECT count(*) FROM labels") == [(0,)]


async def test_nobody_labels_a_conversation_twice_at_once(judged: Any, database: Database) -> None:
    run_id = await judged(Behaviour(), total_items=1)
    (thread_id,) = (await query(database, "SELECT thread_id FROM thread_evaluations"))[0]
    both = label(thread_id, "EFFICIENT"), label(thread_id, "BROKEN", name="verdict")
    with pytest.raises(Refused, match=f"ann labels the conversation '{thread_id}' twice"):
        await added(database, run_id, *both)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("thread_id,value\n", "no column evaluator, labelled_by, is_random"),
        ("", "no column thread_id"),
        (
            "thread_id,evaluator,value,labelled_by,is_random\nt,e,v,ann,maybe\n",
            "row 2.is_random: Write true or false",
        ),
        (
            f"thread_id,evaluator,value,labelled_by,is_random\n{'t' * 501},e,v,ann,true\n",
            "row 2.thread_id: It is too long: 500 characters at most",
        ),
        ("thread_id;evaluator\n", "no column thread_id"),
    ],
)
def test_a_file_that_can_t_be_read(content: str, message: str, dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content, "utf-8")
    refused = evalqueue(dsn, "labels", "add", str(path), "--run", str(uuid4()))
    assert refused.returncode == 2, refused
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_commands_about_a_run_that_does_not_exist(dsn: str) -> None:
    nowhere = str(uuid4())
    for arguments in (
        ("calibrate", nowhere),
        ("labels", "list", "--run", nowhere),
        ("labels", "sample", nowhere, "--evaluator", "intent", "--by", "ann"),
    ):
        assert evalqueue(dsn, *arguments).returncode == 4, arguments


def test_a_label_has_bounds() -> None:
    with pytest.raises(ValidationError, match="at most 200"):
        label("t", "x" * 201)
    with pytest.raises(ValidationError, match="at least 1"):
        label("", "x")
