"""A corrected rate: how often its interval contains the true one."""

import random
from collections import Counter

import pytest

from evalqueue.evaluators.statistics.prediction_powered import (
    MIN_LABELS,
    CorrectedShare,
    JudgedAndLabelled,
    corrected_share,
    labels_needed,
)

SIMULATIONS = 400
CONVERSATIONS = 400


def drawn(
    draw: random.Random, good: float, sensitivity: float, specificity: float, labels: int
) -> CorrectedShare:
    """A correction of 400 conversations of which some have a label."""
    cells = Counter[tuple[bool, bool]]()
    judged_good = 0
    for number in range(CONVERSATIONS):
        is_good = draw.random() < good
        right = draw.random() < (sensitivity if is_good else specificity)
        judged = is_good is right
        if number < labels:
            cells[judged, is_good] += 1
        else:
            judged_good += judged
    found = corrected_share(
        JudgedAndLabelled(
            both_good=cells[True, True], only_judge_good=cells[True, False],
            only_label_good=cells[False, True], neither_good=cells[False, False],
        ),
        good=judged_good, rest=CONVERSATIONS - labels,
    )  # fmt: skip
    assert found is not None
    return found


@pytest.mark.parametrize("labels", [MIN_LABELS, 50, 100])
@pytest.mark.parametrize(
    ("good", "sensitivity", "specificity"),
    [
        (0.5, 0.9, 0.9), (0.9, 0.95, 0.9), (0.95, 0.98, 0.8), (0.98, 0.99, 0.7), (0.99, 0.99, 0.9),
        (0.02, 0.7, 0.99), (0.5, 0.5, 0.5), (0.3, 1.0, 1.0), (0.7, 0.2, 0.1),
    ],
)  # fmt: skip
def test_the_interval_contains_the_true_rate(
    good: float, sensitivity: float, specificity: float, labels: int
) -> None:
    draw = random.Random(f"{good} {sensitivity} {specificity} {labels}")  # noqa: S311  a simulation
    found = [drawn(draw, good, sensitivity, specificity, labels) for _ in range(SIMULATIONS)]
    assert sum(each.low <= good <= each.high for each in found) >= 0.92 * SIMULATIONS
    assert all(0 <= each.low <= each.share <= each.high <= 1 for each in found)
    assert all(0 <= each.weight <= 1 for each in found)


def test_a_good_judge_makes_the_interval_narrower_than_labels_alone() -> None:
    def width(sensitivity: float) -> float:
        draw = random.Random(1)  # noqa: S311  a simulation
        found = [drawn(draw, 0.5, sensitivity, sensitivity, 50) for _ in range(100)]
        return sum(each.half_width for each in found) / len(found)

    # 1.96 · sqrt(0.5 · 0.5 ÷ 50) is ± 0.139 by 50 labels alone.
    assert width(0.95) < 0.7 * 0.139
    assert width(0.5) == pytest.approx(0.139, rel=0.1)


def test_too_few_labels_correct_nothing() -> None:
    few = JudgedAndLabelled(
        both_good=MIN_LABELS - 1, only_judge_good=0, only_label_good=0, neither_good=0
    )
    assert corrected_share(few, good=90, rest=100) is None


def test_all_conversations_labelled() -> None:
    table = JudgedAndLabelled(both_good=30, only_judge_good=10, only_label_good=5, neither_good=5)
    found = corrected_share(table, good=0, rest=0)
    assert found is not None
    assert found.share == pytest.approx(0.7)
    assert found.weight == 0
    assert (table.sensitivity, table.specificity) == (30 / 35, 5 / 15)


def test_half_the_width_needs_four_times_the_labels() -> None:
    found = CorrectedShare(share=0.5, low=0.4, high=0.6, weight=0.5)
    assert labels_needed(found, labelled=50, half_width=0.05) == pytest.approx(200, abs=1)
    assert labels_needed(found, labelled=50, half_width=0.2) == 50
