"""Which conversations belong to a sample, and that it is the same one everywhere."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.sources.sampling import Candidate, Sample, Sampling, share

CANDIDATES = st.builds(
    Candidate,
    thread_id=st.text(max_size=5),
    user_id=st.sampled_from([None, "ann", "ben"]),
    intent=st.sampled_from([None, "food", "question"]),
    has_error=st.booleans(),
)


def taken(rules: Sampling, candidates: list[Candidate]) -> list[Candidate]:
    sample = Sample(rules)
    return [each for each in candidates if sample.takes(each)]


@given(candidates=st.lists(CANDIDATES), seed=st.integers(), rate=st.floats(0.01, 1))
def test_the_rate_depends_on_nothing_but_the_id(
    candidates: list[Candidate], seed: int, rate: float
) -> None:
    found = taken(Sampling(rate=rate, seed=seed), candidates)

    alone = [each for each in candidates if taken(Sampling(rate=rate, seed=seed), [each])]
    assert found == alone
    assert all(each in found for each in candidates if each.has_error)


@given(candidates=st.lists(CANDIDATES), limit=st.integers(1, 3))
def test_limits_hold_for_all_but_errors(candidates: list[Candidate], limit: int) -> None:
    rules = Sampling(per_intent=limit, per_user=limit, errors=False)
    found = taken(rules, candidates)

    assert max(Counter(each.intent for each in found).values(), default=0) <= limit
    assert max(Counter(each.user_id for each in found).values(), default=0) <= limit
    with_errors = taken(Sampling(per_intent=limit, per_user=limit), candidates)
    assert all(each in with_errors for each in candidates if each.has_error)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_that_is_taken_is_the_rate(rate: float) -> None:
    """Within five standard deviations of a binomial with 10,000 draws."""
    ids = [str(number) for number in range(10_000)]
    for seed in range(3):
        count = sum(share(each, seed=seed) < rate for each in ids)
        assert abs(count - 10_000 * rate) < 5 * (10_000 * rate * (1 - rate)) ** 0.5


def test_another_seed_takes_others() -> None:
    assert share("c1", seed=1) != share("c1", seed=2)
