"""People label the items of an annotation queue, several at the same time."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from costing import query
from tests.labels.test_labels import evalqueue

from evalqueue.evaluators.judging.scores import ScoreDeclaration, ScoreKind
from evalqueue.evaluators.labels import annotation, store
from evalqueue.evaluators.labels.annotation import (
    AnnotationProgress,
    AnnotationQueue,
    ItemTaken,
    LabelledItem,
    NotLabellable,
    OfferedItem,
    Selection,
)
from evalqueue.evaluators.labels.calibrate import calibration
from evalqueue.evaluators.labels.store import InvalidLabels, LabelledRun, NewLabel
from evalqueue.postgres.database import Connection, Database
from evalqueue.testing import Behaviour

ITEMS = 12


async def run_with(connection: Connection, run_id: UUID) -> LabelledRun:
    run = await store.labelled_run(connection, run_id, owner=None)
    assert run is not None
    return run


class People:
    """A queue, and people who label its items, each over a connection of their own."""

    def __init__(self, database: Database, run: LabelledRun, queue: AnnotationQueue) -> None:
        self.database = database
        self.run = run
        self.queue = queue

    @classmethod
    async def asked(cls, database: Database, run_id: UUID, **options: Any) -> "People":
        async with database.connection() as connection:
            run = await run_with(connection, run_id)
            given = {
                "evaluator": "efficiency", "name": None, "selection": Selection.RANDOM,
                "size": ITEMS, "annotators": 1,
            }  # fmt: skip
            queue = await annotation.create(connection, run, **(given | options))
        return cls(database, run, queue)

    async def offered(self, annotator: str, *, decides: bool = False) -> OfferedItem | None:
        async with self.database.connection() as connection:
            return await annotation.next_item(
                connection, self.queue, self.run, annotator=annotator, adjudicates=decides
            )

    async def item(self, annotator: str, *, decides: bool = False) -> OfferedItem:
        found = await self.offered(annotator, decides=decides)
        assert found is not None
        return found

    async def says(
        self, annotator: str, position: int, value: str = "EFFICIENT", **others: Any
    ) -> LabelledItem:
        given = {"note": None, "adjudicates": False} | others
        async with self.database.connection() as connection:
            found = await annotation.label(
                connection, self.queue, self.run,
                position=position, annotator=annotator, value=value, **given,
            )  # fmt: skip
        assert found is not None
        return found

    async def labels_all(self, annotator: str, value: str = "EFFICIENT") -> list[int]:
        """Label items until there are none for this person; returns their positions."""
        positions: list[int] = []
        while item := await self.offered(annotator):
            await self.says(annotator, item.position, value)
            positions.append(item.position)
        return positions

    async def progress(self) -> AnnotationProgress:
        async with self.database.connection() as connection:
            return await annotation.progress(connection, self.queue)

    async def expire_leases(self) -> None:
        await query(
            self.database,
            "UPDATE annotation_leases SET expires_at = clock_timestamp() RETURNING position",
        )


async def items_of(people: People) -> list[str]:
    rows = await query(
        people.database,
        f"SELECT thread_id FROM annotation_items WHERE queue_id = '{people.queue.id}'"
        " ORDER BY position",
    )
    return [thread_id for (thread_id,) in rows]


async def sampled(people: People, size: int) -> list[str]:
    async with people.database.connection() as connection:
        found, score = store.find_score(people.run, "efficiency", None)
        drawn = await store.sample(
            connection, people.run, score, found, size=size, labelled_by="nobody"
        )
    return [each.thread_id for each in drawn]


@pytest.fixture
async def run_id(judged: Any) -> UUID:
    found: UUID = await judged(Behaviour(), total_items=48)
    return found


async def test_items_are_drawn_at_random_and_the_same_each_time(
    run_id: UUID, database: Database
) -> None:
    first = await People.asked(database, run_id)
    again = await People.asked(database, run_id)
    larger = await People.asked(database, run_id, size=100)
    assert await items_of(first) == await items_of(again) == await sampled(first, ITEMS)
    assert (await items_of(larger))[:ITEMS] == await items_of(first)
    assert len(await items_of(larger)) == 48

    await first.labels_all("ann")
    said = await query(database, "SELECT thread_id, is_random, labelled_by, owner FROM labels")
    assert sorted(said) == sorted((each, True, "ann", "default") for each in await items_of(first))
    assert await first.progress() == await again.progress()
    assert (await again.offered("ann")) is None


@pytest.mark.parametrize("annotators", [1, 2, 3])
async def test_people_at_the_same_time_never_have_the_same_place(
    annotators: int, run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=30, annotators=annotators)
    names = ["ann", "bob", "eve", "ida", "joe", "kim"]
    held: dict[int, set[str]] = defaultdict(set)

    async def work(name: str) -> list[int]:
        positions: list[int] = []
        while item := await people.offered(name):
            held[item.position].add(name)
            assert len(held[item.position]) <= annotators, held
            await people.says(name, item.position)
            positions.append(item.position)
        return positions

    done = await asyncio.gather(*map(work, names))
    for each in done:
        assert len(set(each)) == len(each)
    times = Counter(position for each in done for position in each)
    # Those who found all places taken have left; all other places are filled.
    assert times == dict.fromkeys(range(1, 31), annotators)
    rows = await query(
        database, "SELECT count(*), count(DISTINCT labelled_by) FROM labels GROUP BY thread_id"
    )
    assert rows == [(annotators, annotators)] * 30
    assert await query(database, "SELECT count(*) FROM annotation_leases") == [(0,)]


async def test_an_item_stays_with_its_person_until_the_lease_ends(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id)
    first = await people.item("ann")
    again = await people.item("ann")
    assert (again.position, again.turns) == (first.position, first.turns)
    assert again.expires_at > first.expires_at
    assert (await people.item("bob")).position != first.position

    await people.expire_leases()
    assert (await people.item("eve")).position == first.position
    with pytest.raises(ItemTaken):
        await people.says("ann", first.position)
    assert await query(database, "SELECT count(*) FROM labels") == [(0,)]


async def test_a_label_after_the_end_of_the_lease_counts_if_the_place_is_free(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id)
    item = await people.item("ann")
    await people.expire_leases()
    await people.says("ann", item.position)
    assert (await people.progress()).complete == 1


async def test_an_item_that_is_given_back_is_offered_again(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id)
    first = await people.item("ann")
    later = await people.item("ann")

    async def released(of: OfferedItem) -> bool:
        async with database.connection() as connection:
            return await annotation.release(
                connection, people.queue,
                position=of.position, annotator="ann", expires_at=of.expires_at,
            )  # fmt: skip

    # What an older page says while it is closed does not take the item from the newer one.
    assert not await released(first)
    assert (await people.item("bob")).position == later.position + 1
    assert await released(later)
    assert (await people.item("eve")).position == later.position


async def test_nobody_labels_the_same_item_twice(run_id: UUID, database: Database) -> None:
    people = await People.asked(database, run_id, size=3, annotators=2)
    assert await people.labels_all("ann") == [1, 2, 3]
    assert await people.offered("ann") is None
    assert (await people.progress()).complete == 0
    assert await people.labels_all("bob") == [1, 2, 3]
    assert (await people.progress()).complete == 3
    assert await people.offered("eve") is None


async def test_a_correction_supersedes_and_is_seen_by_the_others(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=1)
    item = await people.item("ann")
    await people.says("ann", item.position, "BROKEN")
    found = await people.says("ann", item.position, "friction", note="a slip")
    assert [(each.value, each.note) for each in found.labels] == [("FRICTION", "a slip")]
    assert await query(database, "SELECT label, is_random FROM labels ORDER BY id") == [
        ("BROKEN", True), ("FRICTION", True),
    ]  # fmt: skip
    with pytest.raises(InvalidLabels, match="'splendid' is not one of EFFICIENT"):
        await people.says("ann", item.position, "splendid")
    judged = await query(
        database, "SELECT value_text FROM scores WHERE evaluator = 'efficiency'"
        f" AND name = 'verdict' AND thread_id = '{item.thread_id}'"
    )  # fmt: skip
    assert (found.judged.value,) == judged[0]


async def test_labels_from_elsewhere_count_unless_they_are_not_random(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=3)
    first, second, _ = await items_of(people)
    for thread_id, is_random in ((first, True), (second, False)):
        said = NewLabel(
            thread_id=thread_id, evaluator="efficiency", value="BROKEN", labelled_by="ann",
            is_random=is_random,
        )  # fmt: skip
        async with database.connection() as connection:
            await store.add(connection, people.run, [said])
    assert (await people.progress()).complete == 1
    assert await people.labels_all("ann") == [2, 3]
    assert (await people.progress()).complete == 3


async def test_people_who_disagree_are_decided_between_by_somebody_else(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=4, annotators=2)
    await people.labels_all("ann")
    assert await people.offered("eve", decides=True) is None
    for position, value in enumerate(("EFFICIENT", "EFFICIENT", "BROKEN", "BROKEN"), start=1):
        await people.says("bob", position, value)
    found = await people.progress()
    assert (found.complete, found.disputed) == (4, 2)
    assert found.agreement is not None
    assert found.agreement < 0.5
    assert await people.offered("ann", decides=True) is None  # has said something already

    item = await people.item("eve", decides=True)
    assert [(each.labelled_by, each.value) for each in item.labels] == [
        ("ann", "EFFICIENT"), ("bob", "BROKEN"),
    ]  # fmt: skip
    assert (await people.item("ida", decides=True)).position != item.position
    assert await people.offered("joe", decides=True) is None
    await people.says("eve", item.position, "BROKEN", adjudicates=True)
    await people.says("eve", item.position, "FRICTION")  # a correction still decides
    assert (await people.progress()).disputed == 1
    await people.expire_leases()
    assert (await people.item("joe", decides=True)).position != item.position
    decided = await query(
        database, "SELECT label, adjudicates, is_random FROM labels WHERE labelled_by = 'eve'"
        " ORDER BY id"
    )  # fmt: skip
    assert decided == [("BROKEN", True, True), ("FRICTION", True, True)]
    async with database.connection() as connection:
        calibrated = await calibration(connection, people.run)
    (score,) = [each for each in calibrated.scores if each.labelled]
    assert score.left_out <= 1


async def test_a_majority_is_no_dispute_and_no_decision_overrules_it(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=2, annotators=3)
    said = {"ann": "EFFICIENT", "bob": "EFFICIENT", "ida": "BROKEN"}
    for person, value in said.items():
        await people.says(person, 1, value)
        await people.says(person, 2, "FRICTION" if person == "bob" else value)
    assert (await people.progress()).disputed == 1
    assert (await people.item("eve", decides=True)).position == 2
    with pytest.raises(ItemTaken, match="nothing to decide"):
        await people.says("eve", 1, "BROKEN", adjudicates=True)

    first, second = await items_of(people)
    decisions = [
        NewLabel(
            thread_id=thread_id, evaluator="efficiency", value="ACCEPTABLE", labelled_by="joe",
            is_random=True, adjudicates=True,
        )
        for thread_id in (first, second)
    ]  # fmt: skip
    async with database.connection() as connection:
        await store.add(connection, people.run, decisions)
        calibrated = await calibration(connection, people.run)
    (score,) = [each for each in calibrated.scores if each.labelled]
    found = {each.label for each in score.confusion}
    assert found == {"EFFICIENT", "ACCEPTABLE"}


async def test_who_has_labelled_an_item_can_not_decide_about_it(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=1, annotators=2)
    await people.says("ann", 1, "EFFICIENT")
    await people.says("bob", 1, "BROKEN")
    with pytest.raises(ItemTaken, match="somebody else has to decide"):
        await people.says("ann", 1, "BROKEN", adjudicates=True)
    assert await query(database, "SELECT label FROM labels ORDER BY id") == [
        ("EFFICIENT",), ("BROKEN",),
    ]  # fmt: skip


async def test_the_same_label_sent_several_times_at_once_is_one_label(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=5)
    for position in range(1, 6):
        replies = await asyncio.gather(*(people.says("ann", position) for _ in range(5)))
        assert all([each.value for each in reply.labels] == ["EFFICIENT"] for reply in replies)
    assert await query(database, "SELECT count(*) FROM labels") == [(5,)]


async def test_a_value_that_is_not_on_the_menu_is_named_also_where_all_places_are_taken(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id, size=1)
    await people.says("ann", 1)
    with pytest.raises(InvalidLabels, match="'splendid' is not one of EFFICIENT"):
        await people.says("bob", 1, "splendid")


async def test_a_random_queue_has_failures_and_no_conversation_that_the_evaluator_leaves_out(
    run_id: UUID, database: Database
) -> None:
    await query(
        database,
        "UPDATE scores SET value_text = NULL, value_number = NULL, value_boolean = NULL,"
        " failure = CASE WHEN turn IS NULL AND thread_id = (SELECT min(thread_id) FROM scores)"
        " THEN 'timeout' END WHERE evaluator = 'efficiency'"
        " AND thread_id < (SELECT max(thread_id) FROM scores) RETURNING 1",
    )
    rows = await query(database, "SELECT min(thread_id), max(thread_id) FROM scores")
    failed, judged = rows[0]
    people = await People.asked(database, run_id)
    assert {*await items_of(people)} == {failed, judged}
    completed = await People.asked(database, run_id, name="task_completed")
    assert {*await items_of(completed)} == {failed, judged}
    unlike = await People.asked(database, run_id, selection=Selection.DISAGREEMENTS)
    assert await items_of(unlike) == [judged]


async def set_verdicts(database: Database, values: Sequence[str]) -> None:
    """Set the first verdicts of efficiency to these, and all others to FRICTION."""
    await query(
        database,
        "UPDATE scores SET value_text = COALESCE((%(values)s::text[])[place.number], 'FRICTION')"
        " FROM (SELECT evaluation_id, row_number() OVER (ORDER BY thread_id) AS number"
        "  FROM scores WHERE evaluator = 'efficiency' AND name = 'verdict') AS place"
        " WHERE scores.evaluation_id = place.evaluation_id AND scores.evaluator = 'efficiency'"
        " AND scores.name = 'verdict' RETURNING 1".replace(
            "%(values)s", "'{" + ",".join(values) + "}'"
        ),
    )


async def test_disagreements_are_the_split_votes_and_then_the_rarest_verdicts(
    run_id: UUID, database: Database
) -> None:
    await set_verdicts(database, ["BROKEN", "EFFICIENT", "EFFICIENT"])
    rows = await query(database, "SELECT thread_id FROM thread_evaluations ORDER BY 1")
    threads = [thread_id for (thread_id,) in rows]
    await query(
        database,
        "INSERT INTO scores (run_id, evaluation_id, thread_id, evaluator, version, name, kind,"
        " value_number) SELECT run_id, id, thread_id, 'efficiency', 'v', 'vote_flip_rate',"
        f" 'number', (thread_id = '{threads[20]}')::integer FROM thread_evaluations RETURNING 1",
    )
    chosen = {"selection": Selection.DISAGREEMENTS}
    people = await People.asked(database, run_id, size=4, **chosen)
    assert set(await items_of(people)) == {threads[20], *threads[:3]}
    first = await People.asked(database, run_id, size=2, **chosen)
    assert set(await items_of(first)) == {threads[20], threads[0]}
    await people.labels_all("ann")
    assert await query(database, "SELECT DISTINCT is_random FROM labels") == [(False,)]
    async with database.connection() as connection:
        calibrated = await calibration(connection, people.run)
    assert all(not each.random for each in calibrated.scores)


async def test_what_can_not_be_labelled_is_refused(run_id: UUID, database: Database) -> None:
    for wrong, message in (
        ({"evaluator": "manners"}, "no evaluator 'manners'"),
        ({"evaluator": "intent", "name": "accuracy"}, "is a number"),
        ({"evaluator": "correctness", "name": "verdict"}, "is about messages"),
    ):
        with pytest.raises(LookupError, match=message):
            await People.asked(database, run_id, **wrong)
    await query(
        database, "UPDATE eval_runs SET status = 'running', completed_at = NULL RETURNING id"
    )
    with pytest.raises(NotLabellable, match="The run goes on"):
        await People.asked(database, run_id)
    assert await query(database, "SELECT count(*) FROM annotation_queues") == [(0,)]


async def test_a_deleted_run_takes_its_queues_along_and_leaves_the_labels(
    run_id: UUID, database: Database
) -> None:
    people = await People.asked(database, run_id)
    await people.says("ann", (await people.item("ann")).position)
    await people.item("bob")
    await query(database, "DELETE FROM eval_runs RETURNING id")
    assert await query(database, "SELECT count(*) FROM annotation_leases") == [(0,)]
    assert await query(database, "SELECT count(*) FROM labels") == [(1,)]


async def test_the_menu_says_what_its_values_mean(run_id: UUID, database: Database) -> None:
    people = await People.asked(database, run_id)
    asked = annotation.question(people.queue, people.run)
    assert (asked.title, asked.question) == (
        "Efficiency", "Did the user get there without detours?",
    )  # fmt: skip
    assert asked.menu[0].value == "EFFICIENT"
    assert all(each.description for each in asked.menu)
    completed = await People.asked(database, run_id, name="task_completed")
    menu = annotation.question(completed.queue, completed.run).menu
    assert [each.value for each in menu] == ["true", "false"]


def test_descriptions_belong_to_labels() -> None:
    with pytest.raises(ValueError, match="as many descriptions as labels"):
        ScoreDeclaration(
            name="verdict", title="Verdict", kind=ScoreKind.CATEGORY, labels=("GOOD", "BAD"),
            descriptions=("It is good",),
        )  # fmt: skip


async def test_queues_are_created_and_listed_by_commands(run_id: UUID, dsn: str) -> None:
    ask = ("labels", "queue", str(run_id), "--evaluator", "efficiency", "--size", "7")
    created = evalqueue(dsn, *ask, "--annotators", "2", "--json")
    assert created.returncode == 0, created.stderr
    queue = json.loads(created.stdout)
    assert (queue["name"], queue["selection"], queue["progress"]["items"]) == (
        "verdict", "random", 7,
    )  # fmt: skip
    in_words = evalqueue(dsn, *ask, "--disagreements")
    assert "7 conversations, 1 person each" in in_words.stdout
    assert "/annotation/" in in_words.stdout
    listed = json.loads(evalqueue(dsn, "labels", "queues", str(run_id), "--json").stdout)
    assert [each["selection"] for each in listed] == ["random", "disagreements"]
    assert queue["id"] in evalqueue(dsn, "labels", "queues", str(run_id)).stdout

    refused = evalqueue(dsn, "labels", "queue", str(run_id), "--evaluator", "manners")
    assert refused.returncode == 2
    assert "no evaluator 'manners'" in refused.stderr
    assert evalqueue(dsn, "labels", "queues", str(uuid4())).returncode == 4
