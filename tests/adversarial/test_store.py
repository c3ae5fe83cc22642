"""Cases, conversations, verdicts and lanes in real tables."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from evalqueue.evaluators.adversarial import saved_cases, store
from evalqueue.evaluators.adversarial.adjudication import CaseResult
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.dialogue import Ending, Exchange, Speaker, UserMessage
from evalqueue.evaluators.adversarial.store import TrialAttempt, TrialResult
from evalqueue.evaluators.chatbots.protocol import Reply
from evalqueue.evaluators.verdicts import AdversarialVerdict, Difficulty, StopReason
from evalqueue.postgres.database import Connection, Database

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def case(opening: str = "I had some poha") -> Case:
    return Case(
        opening=opening,
        expected_behavior="Asks how much",
        difficulty=Difficulty.EASY,
        persona="easy",
        traits=("quantity_ambiguity",),
        goals=("meal_logged",),
    )


def place(run_id: UUID, put: Case, *, job_id: UUID | None = None, trial: int = 1) -> TrialAttempt:
    return TrialAttempt(
        run_id=run_id, job_id=job_id or uuid4(), attempt=1, case_id=put.case_id, trial=trial
    )


def kept(
    where: TrialAttempt, put: Case, verdict: AdversarialVerdict | None, **more: object
) -> TrialResult:
    found = CaseResult(
        case=put,
        trial=where.trial,
        verdict=verdict,
        goal_achieved=None if verdict is None else True,
        total_turns=1,
        stop_reason=StopReason.GOAL_COMPLETE,
        error="The judge was away" if verdict is None else None,
        result={
            "test_case": put.as_json(),
            "judge": None,
            "derived": {"contradictions": []},
        },
    )
    return TrialResult(
        place=where, case_result=replace(found, **more), started_at=NOON, ended_at=NOON
    )


def exchange(number: int, answer: str | None = None) -> Exchange:
    return Exchange(
        number=number,
        message=UserMessage(
            text=f"message {number}", sent=f"message {number}", by=Speaker.SIMULATOR
        ),
        sent_at=NOON,
        reply=None if answer is None else Reply(text=answer),
    )


@pytest.fixture
async def run_id(database: Database) -> UUID:
    run_id = uuid4()
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO eval_runs (id, command, app_id, status, config)"
            " VALUES (%s, 'evaluate-adversarial', 'kaira-bot', 'running',"
            """ '{"params": {"trials": 2}}')""",
            [run_id],
        )
    return run_id


async def verdicts(connection: Connection, run_id: UUID) -> list[str | None]:
    cursor = await connection.execute(
        "SELECT verdict FROM adversarial_evaluations WHERE run_id = %s ORDER BY id", [run_id]
    )
    return [verdict for (verdict,) in await cursor.fetchall()]


async def test_the_cases_of_a_run_are_settled_once(database: Database, run_id: UUID) -> None:
    first, second = [case("one"), case("two")], [case("three")]
    async with database.connection() as connection:
        assert await store.cases(connection, run_id) == []
        await store.settle_cases(connection, run_id, first, trials=3)
        assert await store.cases(connection, run_id) == first
        await store.settle_cases(connection, run_id, first, trials=3)
        assert await store.cases(connection, run_id) == first
        await store.settle_cases(connection, run_id, second, trials=3)
        assert await store.cases(connection, run_id) == first
        cursor = await connection.execute(
            "SELECT total_items FROM eval_runs WHERE id = %s", [run_id]
        )
        assert await cursor.fetchone() == (3,)


async def test_a_conversation_is_kept_turn_by_turn(database: Database, run_id: UUID) -> None:
    put = case()
    where = place(run_id, put)
    async with database.connection() as connection:
        await store.begin(connection, where)
        await store.note(connection, where, exchange(1))
        (held,) = (await store.dialogues(connection, run_id, where.job_id)).values()
        assert (held.exchanges, held.dialogue) == ((exchange(1),), None)
        await store.note(connection, where, exchange(1, "How much?"))
        await store.note(connection, where, exchange(2))
        ending = Ending(stop_reason=StopReason.GOAL_COMPLETE, reason="done")
        await store.end(connection, where, ending)
        (held,) = (await store.dialogues(connection, run_id, where.job_id)).values()
    assert held.dialogue is not None
    assert held.dialogue.ending == ending
    assert held.exchanges == (exchange(1, "How much?"), exchange(2))


async def test_others_see_only_conversations_that_can_be_judged(
    database: Database, run_id: UUID
) -> None:
    cut, broken, whole = map(case, ("cut", "broken", "whole"))
    async with database.connection() as connection:
        for put in (cut, broken, whole):
            await store.begin(connection, place(run_id, put))
            await store.note(connection, place(run_id, put), exchange(1, "Hm"))
        ending = Ending(stop_reason=StopReason.MAX_TURNS)
        await store.end(connection, place(run_id, whole), ending)
        fault = Ending(stop_reason=StopReason.ERROR)
        await store.end(connection, place(run_id, broken), fault)
        seen = await store.dialogues(connection, run_id, uuid4())
    assert list(seen) == [f"{whole.case_id}/1"]


async def test_beginning_again_forgets_what_was_said_before(
    database: Database, run_id: UUID
) -> None:
    where = place(run_id, case())
    async with database.connection() as connection:
        await store.begin(connection, where)
        await store.note(connection, where, exchange(1, "old"))
        await store.begin(connection, where)
        (held,) = (await store.dialogues(connection, run_id, where.job_id)).values()
    assert held.exchanges == ()


async def test_a_verdict_is_never_taken_back(database: Database, run_id: UUID) -> None:
    put = case()
    first, retrying = place(run_id, put), place(run_id, put)
    async with database.connection() as connection:
        await store.keep(connection, kept(first, put, None))
        assert await verdicts(connection, run_id) == [None]
        await store.keep(connection, kept(first, put, AdversarialVerdict.PASS))
        assert await verdicts(connection, run_id) == [None]  # the same job says it once
        await store.keep(connection, kept(retrying, put, AdversarialVerdict.HARD_FAIL))
        assert await verdicts(connection, run_id) == ["HARD FAIL"]
        await store.keep(connection, kept(place(run_id, put), put, AdversarialVerdict.PASS))
        await store.keep(connection, kept(place(run_id, put), put, None))
        assert await verdicts(connection, run_id) == ["HARD FAIL"]


async def test_a_job_has_nothing_more_to_do_for_what_is_judged_or_was_tried_by_it(
    database: Database, run_id: UUID
) -> None:
    judged, failed = case("judged"), case("failed")
    ours, theirs = uuid4(), uuid4()
    async with database.connection() as connection:
        await store.keep(
            connection, kept(place(run_id, judged, job_id=theirs), judged, AdversarialVerdict.PASS)
        )
        await store.keep(connection, kept(place(run_id, failed, job_id=theirs), failed, None))
        for_them = await store.checkpoint(connection, run_id, theirs)
        for_us = await store.checkpoint(connection, run_id, ours)
    assert for_them.failed == {f"{failed.case_id}/1"}
    assert (for_us.succeeded, for_us.failed) == ({f"{judged.case_id}/1"}, frozenset())


async def test_what_was_said_stays_until_there_is_a_verdict_or_no_hope_of_one(
    database: Database, run_id: UUID
) -> None:
    put = case()
    where = place(run_id, put)

    async def left(connection: Connection) -> int:
        cursor = await connection.execute("SELECT count(*) FROM adversarial_turns")
        row = await cursor.fetchone()
        assert row is not None
        return row[0]

    async with database.connection() as connection:
        await store.begin(connection, where)
        await store.note(connection, where, exchange(1, "Hm"))
        await store.end(connection, where, Ending(stop_reason=StopReason.GOAL_COMPLETE))
        await store.keep(connection, kept(where, put, None))
        assert await left(connection) == 1  # a judge may still be asked
        await store.keep(connection, kept(place(run_id, put), put, AdversarialVerdict.PASS))
        assert await left(connection) == 0
        await store.begin(connection, where)
        await store.note(connection, where, exchange(1))
        other = case("other")
        broken = replace(place(run_id, other), trial=1)
        await store.begin(connection, broken)
        await store.note(connection, broken, exchange(1))
        await store.keep(connection, kept(broken, other, None, stop_reason=StopReason.ERROR))
        assert await left(connection) == 1  # of the other one


async def test_no_verdict_needs_a_reason_and_a_verdict_has_none(
    database: Database, run_id: UUID
) -> None:
    put = case()
    for verdict, error in ((None, None), (AdversarialVerdict.PASS, "why?")):
        with pytest.raises(psycopg.errors.CheckViolation):
            async with database.connection() as connection:
                wrong = kept(place(run_id, put), put, verdict, error=error)
                await store.keep(connection, wrong)


async def test_the_cases_of_an_earlier_run_that_did_not_pass_every_time(
    database: Database, run_id: UUID
) -> None:
    passed, broken, once, never = map(case, ("passed", "broken", "once", "never"))
    async with database.connection() as connection:
        await store.settle_cases(connection, run_id, [passed, broken, once, never], trials=2)
        found = {
            passed: [AdversarialVerdict.PASS, AdversarialVerdict.PASS],
            broken: [AdversarialVerdict.PASS, AdversarialVerdict.CRITICAL],
            once: [AdversarialVerdict.PASS],
        }
        for put, said in found.items():
            for trial, verdict in enumerate(said, start=1):
                where = place(run_id, put, trial=trial)
                await store.keep(connection, kept(where, put, verdict))
        assert await store.cases_of(connection, run_id, None) == [broken, once, never]
        assert await store.cases_of(connection, run_id, [passed.case_id]) == [passed]


async def test_saved_cases_are_kept_once_and_may_be_pinned(database: Database) -> None:
    one, two = case("one"), case("two")
    async with database.connection() as connection:
        sam = {"owner": "sam"}
        await saved_cases.save(connection, "kaira-bot", [one, two], **sam, pinned=False)
        await saved_cases.save(connection, "kaira-bot", [two], **sam, pinned=True)
        await saved_cases.save(connection, "kaira-bot", [two], **sam, pinned=False)
        await saved_cases.save(connection, "other", [one], **sam, pinned=True)
        everything = await saved_cases.saved(connection, "kaira-bot", **sam)
        pinned = await saved_cases.saved(connection, "kaira-bot", **sam, only_pinned=True)
        named = await saved_cases.saved_named(
            connection, "kaira-bot", [two.case_id, one.case_id, "no"], **sam, first_owner="sam"
        )
        assert {each.case for each in everything} == {one, two}
        assert [each.case for each in pinned] == [two]
        assert [each.case for each in named] == [two, one]
        both = await saved_cases.owners_of_saved(
            connection, "kaira-bot", [one.case_id, two.case_id, "no"], **sam, first_owner="otto"
        )
        assert both == {one.case_id: "sam", two.case_id: "sam"}
        await saved_cases.pin(connection, "kaira-bot", {two.case_id: "sam"}, pinned=False)
        assert await saved_cases.unsave(connection, "kaira-bot", both, pinned_too=False) == 2
        assert await saved_cases.saved(connection, "kaira-bot", **sam) == []


async def test_a_case_is_used_by_its_owner_and_by_others_once_it_is_pinned(
    database: Database,
) -> None:
    own, pinned, equal = case("own"), case("pinned"), case("equal")
    async with database.connection() as connection:
        await saved_cases.save(connection, "kaira-bot", [own, equal], owner="sam", pinned=False)
        await saved_cases.save(connection, "kaira-bot", [pinned], owner="ada", pinned=True)
        await saved_cases.save(connection, "kaira-bot", [equal], owner="otto", pinned=False)

        async def used_by(owner: str | None) -> set[tuple[str, str]]:
            found = await saved_cases.saved(connection, "kaira-bot", owner=owner)
            ids = [each.case_id for each in found]
            named = await saved_cases.saved_named(
                connection, "kaira-bot", ids, owner=owner, first_owner=owner or "sam"
            )
            assert named == found
            return {(each.owner, each.case.opening) for each in found}

        assert await used_by("sam") == {("sam", "own"), ("ada", "pinned"), ("sam", "equal")}
        assert await used_by("otto") == {("ada", "pinned"), ("otto", "equal")}
        assert len(await used_by(None)) == 3
        # One's own can be deleted, unless an administrator pinned it; not another's.
        for owner, pinned_too, deleted, count in (
            ("otto", False, own, 0), ("ada", False, pinned, 0), ("sam", False, own, 1),
            ("sam", False, equal, 1), ("ada", True, pinned, 1),
        ):  # fmt: skip
            meant = {deleted.case_id: owner}
            found = await saved_cases.unsave(connection, "kaira-bot", meant, pinned_too=pinned_too)
            assert found == count
        assert await used_by(None) == {("otto", "equal")}


async def test_one_owner_does_not_say_what_another_expects(database: Database) -> None:
    """A case is the same whatever is expected: each owner has an expectation of their own."""
    strict = replace(case("same"), expected_behavior="It refuses")
    lenient = replace(strict, expected_behavior="Anything passes")
    ids = [strict.case_id]
    assert ids == [lenient.case_id]
    async with database.connection() as connection:
        await saved_cases.save(connection, "kaira-bot", [lenient], owner="bob", pinned=False)
        await saved_cases.save(connection, "kaira-bot", [strict], owner="anna", pinned=False)
        for sees in ("anna", None):  # None: a job that its worker reads again
            (named,) = await saved_cases.saved_named(
                connection, "kaira-bot", ids, owner=sees, first_owner="anna"
            )
            assert named.case.expected_behavior == "It refuses"
        with pytest.raises(saved_cases.OwnerNeeded, match="anna, bob"):
            await saved_cases.owners_of_saved(
                connection, "kaira-bot", ids, owner=None, first_owner="default"
            )
        assert await saved_cases.saved(connection, "kaira-bot", owner="eve") == []
        await saved_cases.pin(connection, "kaira-bot", {ids[0]: "anna"}, pinned=True)
        with pytest.raises(saved_cases.CasesDiffer, match="different expected behaviours"):
            await saved_cases.pin(connection, "kaira-bot", {ids[0]: "bob"}, pinned=True)
        (seen,) = await saved_cases.saved(connection, "kaira-bot", owner="eve")
        assert seen.case.expected_behavior == "It refuses"


async def test_an_equal_case_of_another_owner_is_neither_unpinned_nor_deleted(
    database: Database,
) -> None:
    ids = [case("equal").case_id]
    async with database.connection() as connection:
        for owner in ("anna", "bob"):
            await saved_cases.save(
                connection, "kaira-bot", [case("equal")], owner=owner, pinned=True
            )

        async def meant(owner: str | None, first_owner: str = "bob") -> dict[str, str]:
            return await saved_cases.owners_of_saved(
                connection, "kaira-bot", ids, owner=owner, first_owner=first_owner
            )

        assert await meant(None) == {ids[0]: "bob"}
        assert await meant("anna") == {ids[0]: "anna"}
        await saved_cases.pin(connection, "kaira-bot", await meant("anna"), pinned=False)
        (seen,) = await saved_cases.saved(connection, "kaira-bot", owner="eve")
        assert seen.owner == "bob"
        assert (
            await saved_cases.unsave(connection, "kaira-bot", await meant(None), pinned_too=True)
            == 1
        )
        assert await meant(None) == {ids[0]: "anna"}
        assert [
            each.pinned for each in await saved_cases.saved(connection, "kaira-bot", owner=None)
        ] == [False]


async def test_the_saved_cases_of_an_owner_are_bounded(database: Database) -> None:
    many = [case(f"opening {number}") for number in range(saved_cases.MAX_SAVED_CASES)]
    async with database.connection() as connection:
        await saved_cases.save(connection, "kaira-bot", many[1:], owner="sam", pinned=False)
        with pytest.raises(saved_cases.TooManyCases, match="delete some first"):
            await saved_cases.save(
                connection, "kaira-bot", [case("one"), case("two")], owner="sam", pinned=False
            )
        assert len(await saved_cases.saved(connection, "kaira-bot", owner="sam")) == len(many) - 1
        await saved_cases.save(connection, "kaira-bot", many, owner="sam", pinned=False)
        await saved_cases.save(connection, "kaira-bot", [case("one")], owner="otto", pinned=False)


class Holder:
    """An attempt of a job that may hold a lane."""

    def __init__(self, job_id: UUID, attempt: int) -> None:
        self.whose = {"job_id": job_id, "attempt": attempt}

    @classmethod
    async def running(cls, connection: Connection) -> "Holder":
        cursor = await connection.execute("SELECT evalqueue_submit_job('evaluate-adversarial')")
        row = await cursor.fetchone()
        assert row is not None
        await connection.execute(
            "INSERT INTO job_attempts (job_id, attempt, worker) VALUES (%s, 1, 'w')", [row[0]]
        )
        return cls(row[0], 1)

    async def ends(self, connection: Connection, *, seconds_ago: float) -> None:
        await connection.execute(
            "UPDATE job_attempts SET outcome = 'lost',"
            " started_at = now() - interval '1 hour',"
            " ended_at = clock_timestamp() - make_interval(secs => %s) WHERE job_id = %s",
            [seconds_ago, self.whose["job_id"]],
        )

    async def takes(self, connection: Connection, lane: str = "lane") -> bool:
        return await store.lease_credential(connection, lane, **self.whose)

    async def leaves(self, connection: Connection, lane: str = "lane") -> None:
        await store.release_credential(connection, lane, **self.whose)


async def test_a_lane_is_one_attempts_until_it_lets_go(database: Database) -> None:
    async with database.connection() as connection:
        one, other = await Holder.running(connection), await Holder.running(connection)
        assert await one.takes(connection)
        assert await one.takes(connection)  # said again when the answer to the first was lost
        assert not await other.takes(connection)
        assert await other.takes(connection, "another lane")
        await other.leaves(connection)  # not its to leave
        assert not await other.takes(connection)
        await one.leaves(connection)
        assert await other.takes(connection)
        assert not await one.takes(connection)


async def test_a_lane_of_an_attempt_that_is_over_is_free_a_moment_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LEASE_GRACE_SECONDS", 600.0)
    async with database.connection() as connection:
        one, other = await Holder.running(connection), await Holder.running(connection)
        assert await one.takes(connection)
        await one.ends(connection, seconds_ago=300.0)
        assert not await other.takes(connection)
        await one.ends(connection, seconds_ago=601.0)
        assert await other.takes(connection)


async def test_who_was_refused_a_lane_is_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LEASE_PATIENCE_SECONDS", 600.0)
    async with database.connection() as connection:
        fast, slow = await Holder.running(connection), await Holder.running(connection)
        turns = []
        assert await fast.takes(connection)
        for _ in range(3):
            assert not await slow.takes(connection)
            await fast.leaves(connection)
            turns.append(await fast.takes(connection))  # at once, while the other sleeps
            assert await slow.takes(connection)
            assert not await fast.takes(connection)
            await slow.leaves(connection)
            turns.append(await slow.takes(connection))
            assert await fast.takes(connection)
        assert turns == [False] * 6


async def test_a_lane_is_not_kept_for_one_who_asks_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LEASE_PATIENCE_SECONDS", 600.0)
    async with database.connection() as connection:
        one, gone = await Holder.running(connection), await Holder.running(connection)
        assert await one.takes(connection)
        assert not await gone.takes(connection)
        await one.leaves(connection)
        assert not await one.takes(connection)
        await connection.execute(
            "UPDATE credential_leases SET wanted_at = wanted_at - make_interval(secs => %s)",
            [store.LEASE_PATIENCE_SECONDS + 0.1],
        )
        assert await one.takes(connection)


async def test_of_many_who_want_a_lane_at_once_one_gets_it(database: Database) -> None:
    async with database.connection() as connection:
        holders = [await Holder.running(connection) for _ in range(8)]

    async def race(holder: Holder) -> bool:
        async with database.connection() as connection:
            return await holder.takes(connection)

    for _ in range(20):
        won = await asyncio.gather(*map(race, holders))
        assert sum(won) == 1
        async with database.connection() as connection:
            await holders[won.index(True)].leaves(connection)
            await connection.execute(
                "UPDATE credential_leases SET wanted_by = NULL, wanted_at = NULL"
            )


@pytest.mark.parametrize(
    "params",
    [
        '{"kaira_auth_token": "t"}',
        '{"kaira_credential_pool": [{"user_id": "u", "auth_token": "t"}]}',
        '{"chatbot": {"token": "t"}}',
    ],
)
async def test_a_token_is_refused_at_the_door_of_sql_as_well(
    database: Database, params: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="no_credentials_of_chatbots"):
        async with database.connection() as connection:
            await connection.execute(
                "SELECT evalqueue_submit_job('evaluate-adversarial', %s)", [params]
            )
