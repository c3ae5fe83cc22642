"""Agreement beyond chance, against published figures."""

from collections import Counter

import pytest

from evalqueue.evaluators.statistics.agreement import (
    cohens_kappa,
    fleiss_kappa,
    krippendorffs_alpha,
    with_interval,
)

# Four observers and twelve units, with missing ratings: Krippendorff 2011, example C.
RATINGS = [
    (1, 1, None, 1), (2, 2, 3, 2), (3, 3, 3, 3), (3, 3, 3, 3), (2, 2, 2, 2), (1, 2, 3, 4),
    (4, 4, 4, 4), (1, 1, 2, 1), (2, 2, 2, 2), (None, 5, 5, 5), (None, None, 1, 1),
    (None, 3, None, None),
]  # fmt: skip
UNITS = Counter(
    tuple(None if each is None else str(each) for each in ratings) for ratings in RATINGS
)
# Fourteen raters, ten subjects, five labels: the worked example of Fleiss' κ on Wikipedia.
SUBJECTS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def test_cohens_kappa() -> None:
    """Fifty grant proposals, two readers: the worked example of Cohen's κ on Wikipedia."""
    proposals = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    assert cohens_kappa(proposals) == pytest.approx(0.4)
    third = {(one, other, "x"): times for (one, other), times in proposals.items()}
    assert cohens_kappa(third | {("yes", "yes", "y"): 0}) == pytest.approx(0.4)


def test_cohens_kappa_leaves_out_what_one_has_not_rated() -> None:
    rated = {("a", "a"): 5, ("a", "b"): 1, ("b", "b"): 4}
    unrated: dict[tuple[str | None, ...], int] = {("a", None): 7, (None, "b"): 3}
    assert cohens_kappa(rated | unrated) == cohens_kappa(rated)


def test_fleiss_kappa() -> None:
    subjects = [{str(label): times for label, times in enumerate(row) if times} for row in SUBJECTS]
    assert fleiss_kappa(subjects) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize("ratings", [{"a": 1}, {"a": 3}])
def test_fleiss_kappa_needs_the_same_number_of_ratings(ratings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="same number of ratings"):
        fleiss_kappa([ratings, {"a": 1, "b": 1}])


def test_krippendorffs_alpha() -> None:
    assert krippendorffs_alpha(UNITS) == pytest.approx(0.743, abs=5e-4)
    assert krippendorffs_alpha(UNITS, order=["1", "2", "3", "4", "5"]) == pytest.approx(
        0.815, abs=5e-4
    )


@pytest.mark.parametrize("coefficient", [cohens_kappa, krippendorffs_alpha])
def test_what_shows_no_agreement_has_none(coefficient: object) -> None:
    assert callable(coefficient)
    assert coefficient({}) is None
    assert coefficient({("a", "a"): 9}) is None
    assert coefficient({("a", None): 9}) is None


def test_the_interval_is_the_same_each_time_and_narrower_for_more_items() -> None:
    few = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    many = {pair: 16 * times for pair, times in few.items()}
    first, again, other = (with_interval(items, cohens_kappa) for items in (few, few, many))
    assert first is not None
    assert other is not None
    assert first == again
    assert first.low < first.value == other.value < first.high
    assert first.high - first.low == pytest.approx(4 * (other.high - other.low), rel=0.2)
    # The standard error is sqrt(po (1 - po) ÷ (n (1 - pe)²)): Cohen 1960, equation 7.
    assert first.high - first.low == pytest.approx(2 * 1.96 * 0.1296, rel=0.15)
