"""Shares of verdicts and the matrix of intents: small data by hand, and what holds for all data."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from evalqueue.evaluators.batch.distributions import (
    MATRIX_LABELS,
    OTHER,
    EvaluatorStatistics,
    LabelCount,
    LabelPair,
    LabelShare,
    NumberSums,
    ScoreCounts,
    ScoreStatistics,
    TurnLabels,
    confusion,
    of_evaluator,
)
from evalqueue.evaluators.judging.answers import same_label
from evalqueue.evaluators.judging.builtin.correctness import Correctness
from evalqueue.evaluators.judging.builtin.efficiency.verdicts import Efficiency
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    ScoreDeclaration,
    ScoreKind,
)
from evalqueue.evaluators.statistics.intervals import wilson


def declared(name: str, kind: ScoreKind, **more: Any) -> ScoreDeclaration:
    return ScoreDeclaration(name=name, title=name, kind=kind, **more)


def declaration(*labels: str) -> EvaluatorDeclaration:
    """An evaluator with scores of every kind."""
    return EvaluatorDeclaration(
        name="e",
        title="E",
        headline="verdict",
        details_key="e",
        scores=(
            declared("verdict", ScoreKind.CATEGORY, labels=labels or ("GOOD", "BAD")),
            declared("right", ScoreKind.BOOLEAN, per_turn=True),
            declared("label", ScoreKind.CATEGORY, per_turn=True, has_expected=True),
            declared("amount", ScoreKind.NUMBER, minimum=0, maximum=1),
        ),
    )


def statistics(*labels: str, **counts: Any) -> EvaluatorStatistics:
    return of_evaluator(declaration(*labels), ScoreCounts(**counts), Coverage())


def score(found: EvaluatorStatistics, name: str) -> ScoreStatistics:
    (one,) = (each for each in found.scores if each.name == name)
    return one


def given(label: str | None, times: int, *, version: str = "1", failed: bool = False) -> LabelCount:
    """So many threads with a label."""
    return LabelCount(
        evaluator="e", version=version, name="verdict", label=label, failed=failed, times=times
    )


def turns(threads: int, right: int, wrong: int = 0) -> TurnLabels:
    labels = {"true": right, "false": wrong}
    return TurnLabels(
        evaluator="e", version="1", name="right", threads=threads, failures=0,
        labels={label: times for label, times in labels.items() if times} or None,
    )  # fmt: skip


def pair(expected: str, predicted: str, times: int = 1) -> LabelPair:
    return LabelPair(
        evaluator="e", version="1", name="label", expected=expected, predicted=predicted,
        times=times,
    )  # fmt: skip


def shares(labels: Iterable[str], counts: Iterable[tuple[str | None, int]]) -> Sequence[LabelShare]:
    found = statistics(*labels, labels=[given(label, times) for label, times in counts])
    return score(found, "verdict").shares


def test_a_share_is_of_what_was_measured_and_every_verdict_has_one() -> None:
    found = shares(Correctness, [("PASS", 2), ("PASS", 1), (None, 6), ("CRITICAL", 1)])

    assert [each.label for each in found] == list(Correctness)
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


@for_all(
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


def test_what_failed_and_what_does_not_apply_are_counted_beside_the_shares() -> None:
    found = statistics(
        labels=[given("GOOD", 6), given(None, 3, failed=True), given(None, 2)],
    )

    verdict = score(found, "verdict")
    assert (verdict.measured, verdict.threads, verdict.failed) == (6, 6, 3)
    assert [(each.label, each.count, each.share) for each in verdict.shares] == [
        ("GOOD", 6, 1),
        ("BAD", 0, 0),
    ]


def test_scores_of_two_versions_are_never_counted_together() -> None:
    found = statistics(labels=[given("GOOD", 2), given("BAD", 3, version="2")])

    verdicts = [each for each in found.scores if each.name == "verdict"]
    assert [(each.version, each.measured) for each in verdicts] == [("1", 2), ("2", 3)]
    assert [[share.share for share in each.shares] for each in verdicts] == [[1, 0], [0, 1]]


def test_a_share_of_turns_knows_that_turns_come_in_threads() -> None:
    # Two threads with both right, two with both wrong, of one mind each: as good as 4 messages.
    alike = score(statistics(turn_labels=[turns(2, 2), turns(2, 0, 2), turns(7, 0)]), "right")

    yes = alike.shares[0]
    assert (yes.label, yes.share, yes.count) == ("true", 0.5, 4)
    assert (alike.measured, alike.threads) == (8, 4)
    assert (yes.low, yes.high) == wilson(0.5, 4)
    # One right of two in each: nothing alike about messages of one thread.
    unlike = score(statistics(turn_labels=[turns(4, 1, 1)]), "right").shares[0]
    assert (unlike.low, unlike.high) == wilson(0.5, 8)


def test_without_a_turn_that_was_measured_there_is_no_share() -> None:
    for found in (statistics(turn_labels=[turns(5, 0)]), statistics()):
        right = score(found, "right")
        assert (right.measured, {each.share for each in right.shares}) == (0, {None})
        assert score(found, "label").confusion is None


def test_a_mean_has_an_interval_inside_of_what_is_possible() -> None:
    # 0.8, 0.9, 1.0: standard error 0.1 / sqrt(3), t(2) = 4.3027
    sums = NumberSums(
        evaluator="e", version="1", name="amount", mean=0.9, measured=3, failures=1, threads=3,
        squares=0.02, lowest=0.8, highest=1.0,
    )  # fmt: skip
    amount = score(statistics(numbers=[sums]), "amount")

    assert amount.mean is not None
    assert (amount.measured, amount.failed, amount.mean.mean) == (3, 1, 0.9)
    assert (amount.mean.low, amount.mean.high) == (pytest.approx(0.9 - 0.24842, abs=1e-4), 1)


def test_one_thread_has_a_mean_and_no_interval() -> None:
    sums = NumberSums(
        evaluator="e", version="1", name="amount", mean=0.5, measured=4, failures=0, threads=1,
        squares=0.0, lowest=0.0, highest=1.0,
    )  # fmt: skip
    mean = score(statistics(numbers=[sums]), "amount").mean

    assert mean is not None
    assert (mean.mean, mean.low, mean.high) == (0.5, None, None)


def test_labels_are_compared_as_the_evaluator_does_and_shown_as_they_are_usually_spelt() -> None:
    found = confusion([
        pair("FoodAgent", "Food_Agent", 3),
        pair("FoodAgent", "food agent", 1),
        pair("General", "FOODAGENT", 2),
        pair("Greeting", "General", 1),
    ])  # fmt: skip

    assert found.labels == ["FoodAgent", "General", "Greeting"]
    assert found.matrix == [[4, 0, 0], [2, 0, 0], [0, 1, 0]]


def test_the_rarest_of_too_many_labels_are_one() -> None:
    pairs = [pair(f"l{number:02}", f"l{number:02}", 100 - number) for number in range(40)]
    found = confusion([*pairs, pair("Other", "l00", 500), pair("l39", "l00", 1)])
    labels, matrix = found.labels, found.matrix

    assert labels == [*(f"l{number:02}" for number in range(29)), OTHER]
    assert len(labels) == MATRIX_LABELS
    assert (matrix[0][0], matrix[28][28]) == (100, 72)
    assert matrix[-1][-1] == sum(100 - number for number in range(29, 40))
    assert matrix[-1][0] == 501


def test_thirty_labels_are_not_too_many() -> None:
    labels = confusion([pair(f"l{number}", "other") for number in range(29)]).labels

    assert labels[0] == "other"
    assert len(labels) == len(set(labels)) == 30


names = st.text(st.sampled_from("aAbB _-\u0130ß"), max_size=3)


@for_all(st.lists(st.tuples(names, names, st.integers(1, 5)), max_size=80))
def test_the_matrix_loses_no_message(found: list[tuple[str, str, int]]) -> None:
    confused = confusion(starmap(pair, found))
    labels, matrix = confused.labels, confused.matrix

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
