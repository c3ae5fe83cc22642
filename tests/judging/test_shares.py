"""Shares of verdicts and the matrix of intents: small data by hand, and what holds for all data."""

from collections import Counter
from itertools import starmap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.batch.distributions import (
    MATRIX_LABELS,
    OTHER,
    Pair,
    Tally,
    confusion,
    intents,
    of_batch,
    shares,
)
from evalqueue.evaluators.judging.answers import same_label
from evalqueue.evaluators.statistics.intervals import wilson
from evalqueue.evaluators.verdicts import Correctness, Efficiency


def tally(threads: int = 1, **found: Any) -> Tally:
    nothing: dict[str, Any] = {
        "worst_correctness": None, "efficiency_verdict": None, "failed": False,
        "intents_correct": 0, "intents_compared": 0,
    }  # fmt: skip
    return Tally(threads=threads, **nothing | found)


def pair(expected: str, predicted: str, messages: int = 1) -> Pair:
    return Pair(expected=expected, predicted=predicted, messages=messages)


def test_a_share_is_of_what_was_measured_and_every_verdict_has_one() -> None:
    found = shares(Correctness, [("PASS", 2), ("PASS", 1), (None, 6), ("CRITICAL", 1)])

    assert [each.verdict for each in found] == list(Correctness)
    assert [each.count for each in found] == [0, 3, 0, 0, 1]
    assert [each.share for each in found] == [0, 0.75, 0, 0, 0.25]
    assert (found[1].low, found[1].high) == wilson(0.75, 4)
    # 3 of 4: Wilson's interval, by hand with z² = 3.8415: (0.75 + 0.4802 ± 0.6443) / 1.9604
    assert (found[1].low, found[1].high) == pytest.approx((0.3006, 0.9544), abs=1e-4)
    # 0 of 4: from nothing to z² / (4 + z²)
    assert (found[0].low, found[0].high) == pytest.approx((0, 0.4899), abs=1e-4)


def test_where_nothing_was_measured_no_verdict_has_a_share() -> None:
    found = shares(Efficiency, [(None, 3)])

    assert {(each.count, each.share, each.low, each.high) for each in found} == {
        (0, None, None, None)
    }
    assert len(found) == len(Efficiency)


@given(
    st.lists(
        st.tuples(st.sampled_from([None, *(each.value for each in Correctness)]), st.integers(1, 9))
    )
)
def test_counts_sum_up_and_intervals_hold_their_share(counts: list[tuple[str | None, int]]) -> None:
    found = shares(Correctness, counts)

    measured = sum(times for verdict, times in counts if verdict is not None)
    assert sum(each.count for each in found) == measured
    if measured:
        assert sum(each.share or 0 for each in found) == pytest.approx(1)
        for each in found:
            assert each.low is not None
            assert each.share is not None
            assert each.high is not None
            assert 0 <= each.low <= each.share <= each.high <= 1
            assert each.low < each.high


def test_threads_that_came_to_nothing_are_counted_beside_the_shares() -> None:
    found = of_batch(
        [
            tally(4, worst_correctness="PASS", efficiency_verdict="BROKEN"),
            tally(2, worst_correctness="PASS"),
            tally(3, failed=True),
        ],
        [],
        {},
        [],
    )

    assert (found.threads, found.failed, found.intent) == (9, 3, None)
    assert found.threads - sum(each.count for each in found.correctness) == 3
    assert found.threads - sum(each.count for each in found.efficiency) == 5


def test_the_accuracy_of_intents_is_over_messages_that_come_in_threads() -> None:
    # Two threads with both right, two with both wrong, of one mind each: as good as 4 messages.
    alike = intents(
        [
            tally(2, intents_correct=2, intents_compared=2),
            tally(2, intents_correct=0, intents_compared=2),
            tally(7),
        ],
        [pair("a", "a", 4), pair("a", "b", 4)],
    )

    assert alike is not None
    assert (alike.accuracy, alike.correct, alike.compared, alike.threads) == (0.5, 4, 8, 4)
    assert (alike.low, alike.high) == wilson(0.5, 4)
    # One right of two in each: nothing alike about messages of one thread.
    unlike = intents([tally(4, intents_correct=1, intents_compared=2)], [pair("a", "a", 8)])
    assert unlike is not None
    assert (unlike.low, unlike.high) == wilson(0.5, 8)


def test_without_a_message_that_can_be_compared_there_is_no_accuracy() -> None:
    assert intents([tally(5)], []) is None
    assert intents([], []) is None


def test_labels_are_compared_as_the_evaluator_does_and_shown_as_they_are_usually_spelt() -> None:
    labels, matrix = confusion([
        pair("FoodAgent", "Food_Agent", 3),
        pair("FoodAgent", "food agent", 1),
        pair("General", "FOODAGENT", 2),
        pair("Greeting", "General", 1),
    ])  # fmt: skip

    assert labels == ["FoodAgent", "General", "Greeting"]
    assert matrix == [[4, 0, 0], [2, 0, 0], [0, 1, 0]]


def test_the_rarest_of_too_many_labels_are_one() -> None:
    pairs = [pair(f"l{number:02}", f"l{number:02}", 100 - number) for number in range(40)]
    labels, matrix = confusion([*pairs, pair("Other", "l00", 500), pair("l39", "l00", 1)])

    assert labels == [*(f"l{number:02}" for number in range(29)), OTHER]
    assert len(labels) == MATRIX_LABELS
    assert (matrix[0][0], matrix[28][28]) == (100, 72)
    assert matrix[-1][-1] == sum(100 - number for number in range(29, 40))
    assert matrix[-1][0] == 501


def test_thirty_labels_are_not_too_many() -> None:
    labels, _ = confusion([pair(f"l{number}", "other") for number in range(29)])

    assert labels[0] == "other"
    assert len(labels) == len(set(labels)) == 30


names = st.text(st.sampled_from("aAbB _-\u0130ß"), max_size=3)


@given(st.lists(st.tuples(names, names, st.integers(1, 5)), max_size=80))
def test_the_matrix_loses_no_message(found: list[tuple[str, str, int]]) -> None:
    labels, matrix = confusion(starmap(pair, found))

    assert len(labels) <= MATRIX_LABELS
    assert sum(map(sum, matrix)) == sum(times for _, _, times in found)
    if len(labels) < MATRIX_LABELS:
        rows = Counter[str]()
        for expected, _, times in found:
            (label,) = (each for each in labels if same_label(each, expected))
            rows[label] += times
        assert [sum(row) for row in matrix] == [rows[label] for label in labels]
        assert sum(row[place] for place, row in enumerate(matrix)) == sum(
            times for one, other, times in found if same_label(one, other)
        )
