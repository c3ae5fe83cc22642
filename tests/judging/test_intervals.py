"""Intervals that hold, also where what was looked at comes in clusters."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.statistics.intervals import (
    Cluster,
    effective_size,
    mean_interval,
    student_t,
    wilson,
)

clusters = st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=20)


def size_of(found: list[list[bool]]) -> float:
    return effective_size(Cluster(positive=sum(each), size=len(each)) for each in found)


@pytest.mark.parametrize(
    ("broken", "size", "low", "high"),
    [(0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (81, 263, 0.2553, 0.3662)],
)  # the last: Newcombe 1998, Statistics in Medicine 17:857, table I
def test_wilsons_interval_has_the_published_figures(
    broken: int, size: int, low: float, high: float
) -> None:
    assert wilson(broken / size, size) == pytest.approx((low, high), abs=5e-5)


@given(clusters)
def test_the_effective_size_lies_between_clusters_and_trials(found: list[list[bool]]) -> None:
    assert len(found) <= size_of(found) <= sum(map(len, found))


@given(clusters, st.integers(1, 4))
def test_clusters_that_are_alike_can_be_counted(found: list[list[bool]], times: int) -> None:
    counted = [Cluster(positive=sum(each), size=len(each), times=times) for each in found]

    assert effective_size(counted) == pytest.approx(size_of(found * times))


def test_one_trial_per_cluster_is_wilson_and_equal_trials_count_as_one() -> None:
    single = [[True], [False], [False], [False]]

    assert size_of(single) == 4
    assert size_of([each * 5 for each in single]) == 4


def test_alike_trials_count_as_fewer_by_the_variance_between_clusters() -> None:
    # rate 1/2; sums off by 1, 1, 0, 0; variance 4/3 x 2/64; 1/4 over that
    assert size_of([[True, True], [False, False], [True, False], [True, False]]) == 6
    # rate 1/2; sums off by 1, 1, 0; variance 3/2 x 2/36; 1/4 over that
    assert size_of([[True, True], [False, False], [True, False]]) == pytest.approx(3)


def test_clusters_of_different_sizes_weigh_by_their_trials() -> None:
    # rate 4/8; sums off by 1, 1/2, -3/2; variance 3/2 x (1 + 1/4 + 9/4)/64; 1/4 over that
    uneven = [[True, True], [True, False, True], [False, False, False]]
    assert size_of(uneven) == pytest.approx(32 / 10.5)


def test_trials_without_a_difference_count_as_one_for_each_cluster() -> None:
    assert size_of([[False, False, False], [False, False, False]]) == 2
    assert size_of([[True, False, False]]) == 1


def test_intervals_over_clusters_hold_what_they_promise() -> None:
    draw = random.Random(7)  # noqa: S311  a simulation

    def holds(rate: float, alike: float, cases: int, trials: int) -> bool:
        a, b = rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike
        chances = [draw.betavariate(a, b) for _ in range(cases)]
        found = [[draw.random() < chance for _ in range(trials)] for chance in chances]
        low, high = wilson(sum(map(sum, found)) / (cases * trials), size_of(found))
        return low <= rate <= high

    for rate, alike in [(0.3, 0.1), (0.3, 0.5), (0.5, 0.9)]:
        held = sum(holds(rate, alike, cases=20, trials=3) for _ in range(600))
        assert held / 600 > 0.92  # taken as independent, it would be 0.75 of the last


def test_intervals_over_clusters_of_all_sizes_hold_what_they_promise() -> None:
    draw = random.Random(11)  # noqa: S311  a simulation

    def holds(rate: float, alike: float, threads: int) -> bool:
        a, b = rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike
        found = [
            [draw.random() < chance for _ in range(draw.randint(1, 9))]
            for chance in (draw.betavariate(a, b) for _ in range(threads))
        ]
        low, high = wilson(sum(map(sum, found)) / sum(map(len, found)), size_of(found))
        return low <= rate <= high

    for rate, alike in [(0.9, 0.2), (0.6, 0.5)]:
        held = sum(holds(rate, alike, threads=60) for _ in range(600))
        assert held / 600 > 0.92


@pytest.mark.parametrize(
    ("freedom", "published"),
    [
        (1, 12.7062),
        (2, 4.3027),
        (3, 3.1824),
        (4, 2.7764),
        (10, 2.2281),
        (30, 2.0423),
        (120, 1.9799),
    ],
)  # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2
def test_students_t_has_the_published_figures(freedom: int, published: float) -> None:
    assert student_t(freedom) == pytest.approx(published, rel=0.003)


def test_the_interval_of_a_mean_by_hand() -> None:
    # Dekking et al. 2005, A Modern Introduction to Probability and Statistics, 23.2: 22 values,
    # mean 31.012, standard deviation 0.1294; t(21) = 2.080: (30.955, 31.069)
    low, high = mean_interval(31.012, measured=22, clusters=22, squares=21 * 0.1294**2) or (0, 0)

    assert (low, high) == pytest.approx((30.955, 31.069), abs=1e-3)


def test_values_of_one_mind_in_each_cluster_are_worth_one_value_each() -> None:
    # Deviations of +1 and -1, three times each in two clusters: as two values of +1 and -1.
    alike = mean_interval(0.0, measured=6, clusters=2, squares=2 * 3.0**2)

    assert alike == pytest.approx(mean_interval(0.0, measured=2, clusters=2, squares=2.0))
    assert mean_interval(0.5, measured=9, clusters=1, squares=0.0) is None
