"""Posted conversations are evaluated once they have settled, each of their states once."""

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from tests.sources.conftest import Chat, ago, said

from evalqueue.errors import InvalidParams, Refused
from evalqueue.evaluators import forgetting, post_messages
from evalqueue.evaluators.sources.posted import QUERIES
from evalqueue.postgres.rows import jsonb
from evalqueue.worker.leader import Retention, prune

POSTED = {"source": "posted", "settle_minutes": 0}


async def texts(chat: Chat, thread: str) -> list[tuple[str, str]]:
    return [(turn["user_text"], turn["bot_text"]) for turn in await chat.turns(thread)]


async def age(chat: Chat, thread: str, **length: float) -> None:
    """As if the last message of a conversation had come earlier."""
    await chat.run(
        "UPDATE posted_threads SET posted_at = %s WHERE thread_id = %s", ago(**length), thread
    )


async def test_each_conversation_is_evaluated_once_and_again_when_it_goes_on(chat: Chat) -> None:
    await chat.post("c1", said("Noted", by="assistant", timestamp="2026-01-05T10:00:02Z"))
    await chat.post("c2", said("Hello"), said("Hi", by="assistant"), user_id="u2")
    await chat.post("c1", said("Two rotis", timestamp="2026-01-05T10:00:01Z"), user_id="u1")

    first = await chat.read(**POSTED)
    again = await chat.read(**POSTED)
    assert (first["read"], first["evaluated"], again["read"]) == (2, 2, 0)
    assert await chat.evaluated() == [["c2", "c1"]]
    assert await texts(chat, "c1") == [("Two rotis", "Noted")]

    await chat.post("c1", said("Thanks", timestamp="2026-01-05T10:00:09Z"))
    await chat.read(**POSTED)
    await chat.read(**POSTED)
    assert await chat.evaluated() == [["c2", "c1"], ["c1"]]
    assert await texts(chat, "c1") == [("Two rotis", "Noted"), ("Thanks", "")]


async def test_a_conversation_that_may_go_on_waits(chat: Chat) -> None:
    await chat.post("open", said("Hi"))
    await chat.post("over", said("Hi"))
    await age(chat, "over", minutes=31)

    await chat.read(source="posted")
    assert await chat.evaluated() == [["over"]]
    await age(chat, "open", minutes=31)
    await chat.read(source="posted")
    assert await chat.evaluated() == [["over"], ["open"]]


async def test_a_message_is_not_missed_when_its_transaction_commits_after_later_ones(
    chat: Chat,
) -> None:
    late = {"thread_id": "late", "messages": [said("Late", timestamp="2020-01-05T10:00:00Z")]}
    more = {"thread_id": "c1", "messages": [said("More", timestamp="2020-01-05T10:00:00Z")]}
    await chat.post("c1", said("Hi"))
    async with await psycopg.AsyncConnection.connect(chat.dsn) as connection:
        await connection.execute("SELECT evalqueue_post_messages(%s)", [jsonb([late, more])])
        await chat.post("c2", said("Hi"))  # later, and committed
        await chat.read(**POSTED)
        assert await chat.evaluated() == [["c1", "c2"]]
        await chat.read(**POSTED)
        await connection.commit()
    await chat.read(**POSTED)
    await chat.read(**POSTED)

    assert await chat.evaluated() == [["c1", "c2"], ["c1", "late"]]
    assert await texts(chat, "c1") == [("More\n\nHi", "")]


async def test_owners_read_what_they_posted(chat: Chat) -> None:
    async with chat.client() as client:
        for owner in ("ann", "default"):
            thread = {"thread_id": f"of {owner}", "messages": [said("Hi")]}
            await post_messages(client, thread, owner=owner)
        await client.submit_params("evaluate-source", POSTED, owner="ann")
    await chat.work()

    assert await chat.evaluated() == [["of ann"]]
    assert await chat.run("SELECT DISTINCT owner FROM jobs") == [("ann",)]


async def test_a_rule_is_for_an_app_and_others_keep_their_own_positions(chat: Chat) -> None:
    await chat.post("a", said("Hi"), app_id="shop")
    await chat.post("b", said("Hi"), app_id="help")
    await chat.read(**POSTED, app_id="shop", position="shop")
    await chat.read(**POSTED, app_id="shop", position="shop")
    await chat.read(**POSTED, position="all")

    assert await chat.evaluated() == [["a"], ["a", "b"]]
    with pytest.raises(InvalidParams, match="Only posted conversations have an app"):
        await chat.submit(app_id="shop")


async def test_only_what_came_in_the_last_day_is_read_unless_a_range_is_given(chat: Chat) -> None:
    for number in range(1, 5):
        await chat.post(f"c{number}", said("Hi", timestamp=f"2026-01-0{number}T10:00:00Z"))
    await age(chat, "c1", days=3)
    await chat.read(**POSTED)
    assert await chat.evaluated() == [["c2", "c3", "c4"]]

    days = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-03T00:00:00Z"}
    result = await chat.read(**POSTED, **days, position="january", batch_size=1)
    assert result["read"] == 2
    assert (await chat.evaluated())[1:] == [["c1"], ["c2"]]
    await age(chat, "c1", days=2)
    assert (await chat.read(**POSTED))["read"] == 0, "it is from before the first reading"


async def test_tool_calls_errors_and_intents_are_read(chat: Chat) -> None:
    call = {"id": "x", "function": {"name": "log_meal", "arguments": "{}"}}
    await chat.post(
        "c1",
        said("Two rotis", intent="FoodAgent", name="ann"),
        said("", by="assistant", tool_calls=[call]),
        said("ok", by="tool", tool_call_id="x"),
        said("Noted", by="assistant", error="slow"),
    )
    await chat.read(**POSTED, sample_rate=0.0001)

    (turn,) = await chat.turns("c1")
    assert (turn["routed_intent"], turn["error"]) == ("FoodAgent", "slow")
    assert turn["tool_calls"] == [{"name": "log_meal", "arguments": "{}", "result": "ok"}]


async def test_what_can_not_be_read_is_left_out_and_counted(chat: Chat) -> None:
    await chat.post("good", said("Hi"))
    await chat.post("bad", said("You are a bot", by="system"))
    result = await chat.read(**POSTED)

    assert (result["read"], result["evaluated"], result["skipped"]) == (2, 1, 1)
    assert "neither a user's message" in result["skipped_conversations"]["bad"]
    rule = await chat.rule()
    assert (rule.matched, rule.sampled, rule.unreadable, rule.judged) == (2, 1, 1, 1)
    assert (await chat.read(**POSTED))["read"] == 0


async def test_the_figures_of_a_rule_add_up(chat: Chat) -> None:
    for number in range(40):
        await chat.post(f"c{number}", said("Hi"), user_id=f"u{number % 4}")
    sampling: dict[str, Any] = {"sample_rate": 0.5, "per_user": 3, "batch_size": 7}
    job = await chat.submit(**POSTED, **sampling)
    await chat.work()
    async with chat.client() as client:
        found = await client.get(job.id)
        rule = await chat.rule()
        await chat.run(
            "DELETE FROM thread_evaluations WHERE id = (SELECT min(id) FROM thread_evaluations)"
        )
        without = await chat.rule()

    assert found.progress.current == found.progress.total == rule.matched == 40
    assert rule.sampled == rule.judged == sum(map(len, await chat.evaluated()))
    assert 0 < rule.sampled <= 12
    assert rule.over_per_user > 0
    assert rule.matched == (
        rule.sampled + rule.not_in_sample + rule.over_per_intent + rule.over_per_user
    )
    assert (without.judged, without.not_judged) == (rule.judged - 1, 1)


async def test_the_figures_say_what_waits(chat: Chat) -> None:
    for number in range(4):
        await chat.post(f"c{number}", said("Hi"))
    await chat.read(**POSTED)
    await chat.run("DELETE FROM thread_evaluations WHERE thread_id IN ('c1', 'c2')")
    await chat.run("UPDATE eval_runs SET status = 'running', completed_at = NULL")

    rule = await chat.rule()
    assert (rule.sampled, rule.judged, rule.waiting, rule.not_judged) == (4, 2, 2, 0)


async def test_a_user_is_forgotten_with_all_that_was_posted(chat: Chat) -> None:
    await chat.post("c1", said("I am Ann, seven-locks"), user_id="ann")
    await chat.post("c2", said("I am Ben"), user_id="ben")
    await chat.post("c2", said("And I am Ann, seven-locks"), user_id="ann")
    await chat.post("c3", said("I am Ben"), user_id="ben")
    await chat.read(**POSTED)
    async with chat.database.transaction() as connection:
        counted = await forgetting.rows_of(connection, "ann")
    await chat.run(
        "UPDATE jobs SET status = 'running', completed_at = NULL, result = NULL, worker = 'w',"
        " lease_expires_at = now() + interval '1 hour' WHERE job_type = 'evaluate-source'"
    )
    with pytest.raises(Refused, match="read what was posted"):
        await forgetting.forget(chat.database, "ann")
    await chat.run(
        "UPDATE jobs SET status = 'completed', completed_at = now(), result = '{}',"
        " lease_expires_at = NULL WHERE job_type = 'evaluate-source'"
    )
    deleted = await forgetting.forget(chat.database, "ann")

    assert (counted["posted_threads"], counted["posted_messages"]) == (2, 3)
    assert (deleted["posted_threads"], deleted["posted_messages"]) == (2, 3)
    assert deleted["dataset_threads"] == counted["dataset_threads"] == 2
    assert await chat.run("SELECT thread_id FROM posted_threads") == [("c3",)]
    assert await chat.run("SELECT thread_id FROM dataset_threads") == [("c3",)]
    for table in ("posted_messages", "posted_threads", "api_logs", "thread_evaluations", "jobs"):
        found = await chat.run(f"SELECT 1 FROM {table} AS t WHERE t::text LIKE '%%seven-locks%%'")
        assert found == [], table


async def test_what_a_forgotten_user_posts_again_unchanged_stops_nothing(chat: Chat) -> None:
    message = said("Hi", timestamp="2026-01-05T10:00:00Z")
    await chat.post("c1", message, user_id="ann")
    await chat.read(**POSTED)
    await forgetting.forget(chat.database, "ann")

    await chat.post("c1", message, user_id="ann")
    read = await chat.read(**POSTED)
    assert (read["read"], read["evaluated"], read["skipped"]) == (1, 0, 1)
    assert "was forgotten" in read["skipped_conversations"]["c1"]

    await chat.post("c1", said("More", timestamp="2026-01-05T10:00:01Z"), user_id="ann")
    assert (await chat.read(**POSTED))["evaluated"] == 1


@pytest.mark.parametrize(
    ("evaluation", "field", "reason"),
    [
        ({"evaluators": ["nope"]}, "evaluators", "nope"),
        ({"app_id": "nope"}, "app_id", "nope"),
        ({"llm_provider": "openai"}, "llm_provider", "OPENAI_API_KEY"),
    ],
)
async def test_an_evaluation_that_can_not_work_is_refused_at_once(
    chat: Chat, evaluation: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await chat.submit(**POSTED, evaluation=evaluation)

    (problem,) = refused.value.problems
    assert problem.loc == ("params", "evaluation", field)
    assert reason in problem.msg


async def test_of_a_batch_with_a_forgotten_user_the_others_are_counted(chat: Chat) -> None:
    message = said("Hi", timestamp="2026-01-05T10:00:00Z")
    for thread, user in (("c1", "ann"), ("c2", "ben")):
        await chat.post(thread, message, user_id=user)
    await chat.read(**POSTED)
    await forgetting.forget(chat.database, "ann")
    await chat.post("c1", message, user_id="ann")
    await chat.run("UPDATE posted_threads SET posted_at = min FROM"
        " (SELECT min(posted_at) - interval '1 min' AS min FROM posted_threads) AS all_threads"
        " WHERE thread_id = 'c1'")  # fmt: skip
    read = await chat.read(**POSTED, position="another")

    assert (read["read"], read["evaluated"], read["skipped"]) == (2, 1, 1)
    assert list(read["skipped_conversations"]) == ["c1"]


@pytest.mark.parametrize("place", ["message", "metadata"])
async def test_a_user_that_a_message_names_is_forgotten(chat: Chat, place: str) -> None:
    named = {"user_id": "ann"} if place == "message" else {"metadata": {"user_id": "ann"}}
    await chat.post("c1", {**said("seven-locks"), **named}, said("Hi", by="assistant"))
    await chat.post("c2", said("Hi"), {**said("seven-locks"), **named}, user_id="ben")
    await chat.post("c3", said("Hi"), user_id="ben")
    await chat.read(**POSTED)
    await forgetting.forget(chat.database, "ann")

    assert await chat.run("SELECT thread_id FROM posted_threads") == [("c3",)]
    assert await chat.run("SELECT 1 FROM posted_messages WHERE as_posted::text ~ 'locks'") == []
    assert await chat.run("SELECT thread_id FROM dataset_threads") == [("c3",)]


async def test_a_range_of_the_past_leaves_the_position_where_it_would_be(chat: Chat) -> None:
    await chat.post("old", said("Hi", timestamp="2020-01-05T10:00:00Z"))
    await chat.post("new", said("Hi", timestamp="2026-01-05T10:00:00Z"))
    await age(chat, "old", days=3)
    read = await chat.read(**POSTED, since="2026-01-01T00:00:00Z", position="past")
    later = await chat.read(**POSTED, position="past")

    assert (read["read"], later["read"]) == (1, 0), "what came long ago is not read without since"
    assert await chat.evaluated() == [["new"]]


async def test_old_conversations_are_pruned_and_the_figures_still_add_up(chat: Chat) -> None:
    await chat.post("old", said("Hi"))
    await chat.read(**POSTED)
    await chat.post("new", said("Hi"))
    await age(chat, "old", days=91)
    await chat.read(**POSTED)
    await prune(chat.database, Retention(jobs=timedelta(days=90)))
    assert await chat.run("SELECT thread_id FROM posted_threads") == [("new",)]

    await chat.run("UPDATE eval_runs SET completed_at = %s", ago(days=91))
    await prune(chat.database, Retention(runs=timedelta(days=90)))
    rule = await chat.rule()
    assert (rule.matched, rule.sampled, rule.judged) == (0, 0, 0)


async def test_two_jobs_at_once_evaluate_each_conversation_once(chat: Chat) -> None:
    for number in range(12):
        await chat.post(f"c{number:02}", said("Hi"))
    jobs = [await chat.submit(**POSTED, batch_size=2) for _ in range(3)]
    async with asyncio.timeout(60):
        while True:  # a job that met another one tries again later
            await chat.work()
            async with chat.client() as client:
                found = [await client.get(each.id) for each in jobs]
            if all(each.completed_at for each in found):
                break
            await asyncio.sleep(0.5)

    evaluated = [thread for threads in await chat.evaluated() for thread in threads]
    assert sorted(evaluated) == [f"c{number:02}" for number in range(12)]


async def test_a_cancelled_reading_submits_nothing_more(chat: Chat) -> None:
    for number in range(40):
        await chat.post(f"c{number}", said("Hi"))
    job = await chat.submit(**POSTED, batch_size=1, evaluation={"evaluators": ["efficiency"]})
    working = asyncio.create_task(chat.work())
    async with asyncio.timeout(60):
        while len(await chat.evaluated()) < 3:
            await asyncio.sleep(0.01)
    async with chat.client() as client:
        await client.cancel(job.id)
    submitted = await chat.evaluated()
    await working

    assert await chat.evaluated() == submitted
    rule = await chat.rule()
    assert rule.matched == rule.sampled == len(submitted) < 40


async def test_what_was_read_is_found_by_its_thread_while_there_are_no_statistics(
    chat: Chat,
) -> None:
    """An anti join would read all that was read before, for each conversation."""
    await chat.run(
        "INSERT INTO posted_threads (owner, thread_id, messages, posted_at)"
        " SELECT 'default', 'c' || number, 1, now() - number * interval '1 hour'"
        " FROM generate_series(1, 3000) AS number"
    )
    await chat.run("ANALYZE posted_threads")
    await chat.run(
        "INSERT INTO posted_readings (owner, thread_id, name, messages)"
        " SELECT owner, thread_id, 'default', 1 FROM posted_threads ORDER BY posted_at LIMIT 2000"
    )
    arguments = {
        "owner": "default", "name": "default", "start_at": ago(days=4000), "settle_seconds": 0,
        "since": None, "until": None, "app_id": None, "after_at": ago(hours=1000),
        "after_thread": "", "page": 1000,
    }  # fmt: skip
    async with chat.database.connection() as connection:
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES['settled']}".encode()
        ((plan,),) = await (await connection.execute(explained, arguments)).fetchall()

    def removed(node: dict[str, Any]) -> int:
        own = node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"]
        return own + sum(removed(each) for each in node.get("Plans", ()))

    assert plan[0]["Plan"]["Actual Rows"] == 1000 - 1
    assert removed(plan[0]["Plan"]) == 0


async def test_a_job_that_goes_on_does_not_look_at_what_it_has_read_again(chat: Chat) -> None:
    """Nor does it miss what goes on meanwhile; what was before its position is left to the next."""
    for number in range(4):
        await chat.post(f"c{number}", said("Hi"))
        await age(chat, f"c{number}", hours=9 - number)
    job = await chat.submit(**POSTED, batch_size=1)
    async with chat.database.connection() as connection:
        await connection.execute(
            "INSERT INTO source_positions"
            " (owner, source, name, last_at, thread_id, job_id, start_at)"
            " SELECT owner, 'posted', 'default', posted_at, thread_id, %s, '2020-01-01'"
            " FROM posted_threads WHERE thread_id = 'c1'",
            [job.id],
        )
        await connection.execute(
            "INSERT INTO source_readings (owner, source, name, job_id, matched, sampled,"
            " not_in_sample, over_per_intent, over_per_user, unreadable)"
            " VALUES ('default', 'posted', 'default', %s, 2, 0, 2, 0, 0, 0)",
            [job.id],
        )
    await chat.work()
    assert await chat.evaluated() == [["c2"], ["c3"]]
    await chat.read(**POSTED)
    assert sorted((await chat.evaluated())[-1]) == ["c0", "c1"]
