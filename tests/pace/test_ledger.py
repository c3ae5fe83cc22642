"""The row that all workers share, on a real Postgres, with time under the test's control."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtual_pace import Ledger

BURST_SECONDS = 0.5


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    per_minute=st.sampled_from([20.0, 60.0, 600.0, 6_000.0]),
    steps=st.lists(
        st.tuples(
            st.floats(min_value=0.0, max_value=2.0),
            st.integers(min_value=0, max_value=40),
            st.sampled_from(["w1", "w2", "w3"]),
        ),
        min_size=5,
        max_size=40,
    ),
)
def test_no_window_has_more_permits_than_the_rate_allows(
    ledger: Ledger, per_minute: float, steps: list[tuple[float, int, str]]
) -> None:
    ledger = Ledger(ledger.connection)  # an empty one
    rate = per_minute / 60
    ledger.answer_probe(0.0)
    now, moments = 0.0, [0.0]
    for passed, wanted, worker in steps:
        now += passed
        grant = ledger(now, worker, wanted=wanted, set_rate=rate, answered=1, succeeded=True)
        first = now + grant["first_in"]
        taken = [first + number * grant["step"] for number in range(grant["granted"])]
        assert all(at <= now + 0.75 + 1e-6 for at in taken), "no permit reaches further ahead"
        assert len(taken) <= wanted
        moments += [max(at, now) for at in taken]

    moments.sort()
    for number, begin in enumerate(moments):
        for end_number in range(number, len(moments)):
            window = moments[end_number] - begin
            count = end_number - number + 1
            assert count <= rate * (window + BURST_SECONDS) + 2


def test_tokens_are_reserved_and_settled(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    tokens = {"set_tokens": 1_000.0, "tokens_each": 500.0}

    grant = ledger(10.0, wanted=10, **tokens)
    assert (grant["granted"], grant["step"]) == (3, 0.5)  # 0.5 s are caught up with, 0.75 s ahead

    # Each used twice what was reserved: 1,500 tokens are 1.5 s.
    grant = ledger(10.0, wanted=10, token_change=1_500.0, **tokens)
    assert (grant["granted"], grant["first_in"]) == (0, pytest.approx(2.5))


def test_tokens_that_are_given_back_are_there_at_once(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    tokens = {"set_tokens": 100.0, "tokens_each": 1_000.0}
    assert ledger(10.0, wanted=1, **tokens)["granted"] == 1
    assert ledger(10.1, wanted=1, **tokens)["granted"] == 0, "10 s of tokens are taken"

    # The call was refused for its size, and took none.
    grant = ledger(10.1, wanted=1, token_change=-1_000.0, **tokens)

    assert grant["granted"] == 1
    assert grant["first_in"] <= 0.75


def test_permits_that_are_not_used_are_given_back(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    taken = ledger(10.0, wanted=10, set_rate=10.0)
    assert taken["granted"] == 10

    again = ledger(10.0, wanted=20, set_rate=10.0, returned_seconds=1.0)

    assert again["granted"] == 13
    assert again["first_in"] == pytest.approx(-0.5)


def test_a_dead_process_keeps_nothing(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    ledger(10.0, "dead", wanted=1_000, set_rate=10.0)
    ledger(10.0, "alive", wanted=0)

    grant = ledger(11.0, "alive", wanted=10, set_rate=10.0)
    assert grant["first_in"] <= 0, "what it took reaches less than a second ahead"
    assert {each["worker"] for each in grant["demand"]} == {"dead", "alive"}
    grant = ledger(14.1, "alive", wanted=10, set_rate=10.0)
    assert {each["worker"] for each in grant["demand"]} == {"alive"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(min_value=1, max_value=9),
    steps=st.lists(
        st.tuples(
            st.floats(min_value=0.0, max_value=1.0),
            st.sampled_from(["w1", "w2", "w3"]),
            st.integers(min_value=0, max_value=12),
            st.floats(min_value=0.0, max_value=1.0),
            st.sampled_from(["goes on", "goes on", "goes on", "has no more calls", "dies"]),
        ),
        min_size=5,
        max_size=40,
    ),
)
def test_processes_never_have_more_calls_in_flight_than_the_limit(
    ledger: Ledger, limit: int, steps: list[tuple[float, str, int, float, str]]
) -> None:
    ledger = Ledger(ledger.connection)  # an empty one
    ledger.answer_probe(0.0)
    ledger(0.0, jobs=[])
    now, slots, sent_at = 0.0, dict[str, int](), dict[str, float]()
    for passed, worker, wanted, share, event in steps:
        now += passed
        in_flight = round(share * slots.get(worker, 0))  # it kept to what it had
        job = {"job": worker, "owner": worker, "waiting": 9, "in_flight": in_flight, "wanted": 9}
        jobs = [] if event == "has no more calls" else [job]
        grant = ledger(now, worker, jobs=jobs, concurrent=limit, slots=wanted)
        slots[worker], sent_at[worker] = (grant["slots"] if jobs else 0), now
        assert grant["slots"] >= (in_flight if jobs else 0)
        # What says nothing any more is dead, and has no calls after some seconds.
        for each in [name for name, at in sent_at.items() if at < now - 4]:
            slots[each] = 0
        assert sum(slots.values()) <= limit
        if event == "dies":
            now += 0.5


def test_what_a_dead_process_had_in_flight_is_free_after_some_seconds(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    ledger(0.0, jobs=[])
    assert ledger(1.0, "dead", concurrent=8, slots=8)["slots"] == 8
    waiting = [ledger(1.0 + n / 2, "alive", concurrent=8, slots=8)["slots"] for n in range(1, 10)]
    assert waiting == [0] * 8 + [8]


def test_processes_that_went_on_by_themselves_keep_their_calls(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    ledger(0.0, jobs=[])
    ledger(1.0, "w1", concurrent=8, slots=5)
    ledger(1.0, "w2", concurrent=8, slots=3)

    # Postgres was away for 20 s.
    assert ledger(21.0, "w2", concurrent=8, slots=8)["slots"] == 3
    assert ledger(21.5, "w1", concurrent=8, slots=5)["slots"] == 5


def test_one_epoch_has_one_decrease(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    before = ledger(0.1, wanted=5)
    after = ledger(0.2, refused=3, reason="slow down")
    assert after["rate"] == before["rate"] / 2
    assert after["epoch"] == before["epoch"] + 1
    assert after["is_probing"]

    late = ledger(0.25, refused=9, epoch=before["epoch"])

    assert (late["rate"], late["epoch"]) == (after["rate"], after["epoch"])


def test_a_failing_endpoint_stops_new_calls_and_one_call_decides(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    ledger(0.1, wanted=20)
    assert not ledger(0.2, failed=9, reason="HTTP 500")["is_probing"]
    broken = ledger(0.3, failed=1, reason="HTTP 500", wanted=5)
    assert (broken["is_probing"], broken["pause_kind"], broken["granted"]) == (True, "failed", 0)
    assert broken["pause_reason"] == "HTTP 500"

    now, delays = 0.3, list[float]()
    for _ in range(9):
        now += ledger.last["first_in"]
        probe = ledger(now, wanted=5)
        assert (probe["granted"], probe["is_probe"]) == (1, True)
        assert ledger(now, "w2", wanted=5)["granted"] == 0, "one call, of all workers"
        ledger(now, failed=1, probe="failed", reason="HTTP 500")
        delays.append(round(ledger.last["first_in"], 3))
    assert delays == [2, 4, 8, 16, 32, 60, 60, 60, 60]

    now += 60
    assert ledger(now, wanted=5)["is_probe"]
    repaired = ledger(now, probe="answered", answered=1, succeeded=True, wanted=5)
    assert not repaired["is_probing"]
    assert repaired["granted"] == 5


def test_a_process_that_dies_with_the_only_call_does_not_hold_up_the_others(
    ledger: Ledger,
) -> None:
    assert ledger(0.0, "dead", wanted=5)["granted"] == 1
    assert ledger(1.0, "alive", wanted=5)["granted"] == 0
    assert ledger(3.0, "alive", wanted=5)["granted"] == 0
    assert ledger(4.5, "alive", wanted=5)["granted"] == 1


def test_a_credential_that_answered_lately_needs_no_probe(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    ledger(1.0, jobs=[])
    assert ledger(200.0, wanted=5, jobs=[])["granted"] == 5
    ledger(200.0, answered=5, succeeded=True, jobs=[])

    stale = ledger(600.0, wanted=5, jobs=[])

    assert (stale["granted"], stale["is_probe"]) == (1, True)


def test_a_stated_limit_is_kept_with_a_margin(ledger: Ledger) -> None:
    ledger.answer_probe(0.0)
    grant = ledger(1.0, answered=1, succeeded=True, request_limit=10.0, wanted=50)
    assert grant["rate"] == pytest.approx(9.7)
    assert grant["stated"] == 10.0
    grant = ledger(2.0, answered=1, succeeded=True, request_limit=5.0, wanted=50)
    assert grant["rate"] == pytest.approx(4.85)
