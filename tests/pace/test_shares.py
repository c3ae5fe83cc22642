"""Max-min fair shares, by owner and then by job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.pace.shares import Demand, allocate, fair_shares

RATES = st.floats(min_value=0, max_value=1e6, allow_nan=False)
DEMANDS = st.lists(
    st.builds(
        Demand,
        worker=st.sampled_from(["w1", "w2", "w3"]),
        job=st.sampled_from(["j1", "j2", "j3", "j4"]),
        owner=st.just(""),
        wanted=st.floats(min_value=0.01, max_value=1e4),
    ),
    unique_by=lambda each: (each.worker, each.job),
)
OWNER_OF = {"j1": "anna", "j2": "anna", "j3": "ben", "j4": "cem"}


@given(wanted=st.dictionaries(st.integers(0, 9), RATES), capacity=RATES)
def test_shares_are_max_min_fair(wanted: dict[int, float], capacity: float) -> None:
    shares = fair_shares(wanted, capacity)

    assert shares.keys() == wanted.keys()
    assert sum(shares.values()) <= capacity * (1 + 1e-9) + 1e-9
    for key, share in shares.items():
        assert 0 <= share <= wanted[key]
        if share < wanted[key]:  # it gets as much as any other, and nothing is left over
            assert share >= max(shares.values()) * (1 - 1e-9) - 1e-9
            assert sum(shares.values()) == pytest.approx(capacity)


@given(demands=DEMANDS, capacity=st.floats(min_value=0.01, max_value=1e5))
def test_allocation_is_fair_by_owner_then_by_job(demands: list[Demand], capacity: float) -> None:
    named = [
        Demand(worker=each.worker, job=each.job, owner=OWNER_OF[each.job], wanted=each.wanted)
        for each in demands
    ]

    allocated = allocate(named, capacity)

    wanted = sum(each.wanted for each in named)
    assert sum(allocated.values()) == pytest.approx(min(capacity, wanted))
    by_owner: dict[str, float] = {}
    by_job: dict[str, float] = {}
    for (_, job), share in allocated.items():
        by_owner[OWNER_OF[job]] = by_owner.get(OWNER_OF[job], 0.0) + share
        by_job[job] = by_job.get(job, 0.0) + share
    for owner, share in by_owner.items():
        if share < sum(each.wanted for each in named if each.owner == owner) * (1 - 1e-9):
            assert share >= max(by_owner.values()) * (1 - 1e-9)
    for job, share in by_job.items():
        others = [part for name, part in by_job.items() if OWNER_OF[name] == OWNER_OF[job]]
        if share < sum(each.wanted for each in named if each.job == job) * (1 - 1e-9):
            assert share >= max(others) * (1 - 1e-9)


def test_a_small_job_is_not_behind_a_large_one() -> None:
    large = [Demand(worker="w1", job="large", owner="anna", wanted=1_000.0)]
    small = Demand(worker="w2", job="small", owner="ben", wanted=3.0)

    assert allocate([*large, small], 10.0) == {("w1", "large"): 7.0, ("w2", "small"): 3.0}


def test_jobs_of_one_owner_share_what_the_owner_gets() -> None:
    demands = [
        Demand(worker="w1", job="a", owner="anna", wanted=100.0),
        Demand(worker="w1", job="b", owner="anna", wanted=100.0),
        Demand(worker="w2", job="c", owner="ben", wanted=100.0),
    ]

    assert allocate(demands, 12.0) == {("w1", "a"): 3.0, ("w1", "b"): 3.0, ("w2", "c"): 6.0}


def test_the_processes_of_a_job_share_what_the_job_gets() -> None:
    demands = [
        Demand(worker="w1", job="a", owner="anna", wanted=30.0),
        Demand(worker="w2", job="a", owner="anna", wanted=10.0),
        Demand(worker="w3", job="b", owner="anna", wanted=40.0),
    ]

    assert allocate(demands, 16.0) == {("w1", "a"): 6.0, ("w2", "a"): 2.0, ("w3", "b"): 8.0}
