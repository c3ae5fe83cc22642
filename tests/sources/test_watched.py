"""New rows of a watched table are posted messages, and nothing about them fails the application."""

from typing import Any

import psycopg
import pytest
from tests.sources.conftest import Chat, ago

from evalqueue.evaluators import forgetting

POSTED = {"source": "posted", "settle_minutes": 0}
LINES = """
CREATE TABLE chat.lines (
    number bigint GENERATED ALWAYS AS IDENTITY, conversation_id bigint, speaker text, body text,
    parts jsonb, told_by text, at timestamptz DEFAULT now(), secret text DEFAULT 'not for judges');
"""
WATCH = """SELECT evalqueue_watch('chat.lines', thread_id => 'conversation_id', role => 'speaker',
    content => 'body', id => 'number', sent_at => 'at', user_id => 'told_by')"""
INSERT = "INSERT INTO chat.lines (conversation_id, speaker, body, told_by) VALUES (%s, %s, %s, %s)"


@pytest.fixture
async def lines(chat: Chat) -> Chat:
    await chat.run(LINES)
    await chat.run(WATCH)
    return chat


async def skipped(chat: Chat) -> dict[str, int]:
    return (await chat.rule()).skipped_rows


async def test_rows_are_evaluated_as_posted_messages(lines: Chat) -> None:
    await lines.run(
        "INSERT INTO chat.lines (conversation_id, speaker, body, told_by, at) VALUES"
        " (7, 'user', 'Two rotis', 'u7', '2026-01-05 10:00:00+05:30'),"
        " (7, 'assistant', 'Noted', NULL, '2026-01-05 10:00:01+05:30'),"
        " (8, 'user', 'Hi', 'u8', now())"
    )
    found = await lines.read(**POSTED)

    assert (found["read"], found["evaluated"]) == (2, 2)
    (turn,) = await lines.turns("7")
    assert (turn["user_text"], turn["bot_text"]) == ("Two rotis", "Noted")
    assert await lines.run("SELECT user_id FROM posted_threads ORDER BY thread_id") == [
        ("u7",), ("u8",),
    ]  # fmt: skip
    assert "not for judges" not in str(await lines.run("SELECT as_posted FROM posted_messages"))
    assert (await lines.read(**POSTED))["read"] == 0
    await lines.run(INSERT, 7, "user", "Thanks", None)
    assert (await lines.read(**POSTED))["read"] == 1


async def test_a_row_without_a_time_has_that_of_its_insertion(lines: Chat) -> None:
    insert = "INSERT INTO chat.lines (conversation_id, speaker, body, at) VALUES (7, %s, %s, %s)"
    await lines.run(insert, "user", "First", None)
    await lines.run(insert, "assistant", "Second", ago(seconds=1))
    await lines.run("UPDATE watched_rows SET arrived_at = arrived_at - interval '1 hour'")

    await lines.read(**POSTED)

    (turn,) = await lines.turns("7")
    assert (turn["user_text"], turn["bot_text"]) == ("First", "Second")


async def test_whoever_may_insert_into_a_watched_table_posts_its_rows(lines: Chat) -> None:
    """A role without any rights on evalqueue's tables."""
    await lines.run("CREATE ROLE chat_writer")
    await lines.run("GRANT USAGE ON SCHEMA chat TO chat_writer")
    await lines.run("GRANT INSERT ON chat.lines TO chat_writer")
    try:
        async with await psycopg.AsyncConnection.connect(lines.dsn) as connection:
            await connection.execute("SET ROLE chat_writer")
            await connection.execute(INSERT, [7, "user", "Hi", "u7"])
    finally:
        await lines.run("DROP OWNED BY chat_writer")
        await lines.run("DROP ROLE chat_writer")
    assert (await lines.read(**POSTED))["read"] == 1


async def test_rows_of_a_transaction_that_is_rolled_back_are_not_posted(lines: Chat) -> None:
    async with await psycopg.AsyncConnection.connect(lines.dsn) as connection:
        await connection.execute(INSERT, [1, "user", "Hi", "u1"])
        await connection.rollback()
    assert (await lines.read(**POSTED))["read"] == 0


async def test_a_conversation_settles_when_its_rows_came_and_not_when_they_are_stored(
    lines: Chat,
) -> None:
    await lines.run(INSERT, 1, "user", "Hi", "u1")
    await lines.run("UPDATE watched_rows SET arrived_at = %s", ago(hours=1))
    await lines.run(INSERT, 2, "user", "Hi", "u1")

    assert (await lines.read(source="posted", settle_minutes=30))["read"] == 1
    assert await lines.evaluated() == [["1"]]


async def test_bad_rows_are_counted_and_harm_no_other(lines: Chat) -> None:
    rows: list[tuple[Any, ...]] = [
        (1, "user", "Fine", "u1"), (None, "user", "whose?", "u1"), (1, "robot", "Hi", "u1"),
        (1, "user", None, "u1"), (1, "user", "x" * 300_000, "u1"), (2, "robot", "Hi", "u1"),
        (2, "user", "Fine", "u\n2"),
    ]  # fmt: skip
    for row in rows:
        await lines.run(INSERT, *row)
    await lines.run('UPDATE watched_rows SET cells = cells || \'{"id": "7"}\' WHERE id > 5')
    await lines.run(INSERT, 1, "user", "Another under an id", "u1")
    await lines.run(
        'UPDATE watched_rows SET cells = cells || \'{"id": "1"}\''
        " WHERE cells ->> 'content' ~ 'Another'"
    )

    assert (await lines.read(**POSTED))["read"] == 1
    assert await skipped(lines) == {
        "content: It is missing: write a text, or a list of parts": 1,
        "id: another message of the thread has it": 1,
        "It is too large: 256 KiB at most": 1,
        "role: Choose user, assistant, system, developer, tool or function": 2,
        "thread_id: One line of 1 to 500 characters; no word for no value, nor a path": 1,
        "user_id: One line of 1 to 500 characters; no word for no value": 1,
    }
    assert await lines.run("SELECT count(*) FROM watched_rows") == [(0,)]


async def test_a_renamed_column_fails_no_insert(lines: Chat) -> None:
    await lines.run("ALTER TABLE chat.lines RENAME COLUMN speaker TO role")
    await lines.run("INSERT INTO chat.lines (conversation_id, role, body) VALUES (1, 'user', 'Hi')")

    assert await lines.run("SELECT count(*) FROM chat.lines") == [(1,)]
    await lines.read(**POSTED)
    assert await skipped(lines) == {'chat.lines: column "speaker" does not exist': 1}
    await lines.run(WATCH.replace("role => 'speaker'", "role => 'role'"))
    await lines.run("INSERT INTO chat.lines (conversation_id, role, body) VALUES (1, 'user', 'Hi')")
    assert (await lines.read(**POSTED))["read"] == 1


async def test_a_table_of_the_trigger_that_is_gone_fails_no_insert(lines: Chat) -> None:
    await lines.run("ALTER TABLE watched_rows RENAME TO elsewhere")
    try:
        await lines.run(INSERT, 1, "user", "Hi", "u1")
    finally:  # another test gets the database
        await lines.run("ALTER TABLE elsewhere RENAME TO watched_rows")
    assert await lines.run("SELECT count(*) FROM chat.lines") == [(1,)]


async def test_a_content_of_json_is_a_list_of_parts(lines: Chat) -> None:
    await lines.run(WATCH.replace("'body'", "'parts'"))
    await lines.run(
        "INSERT INTO chat.lines (conversation_id, speaker, parts) VALUES (1, 'user', %s)",
        '[{"type": "text", "text": "Two rotis"}]',
    )
    await lines.read(**POSTED)
    (turn,) = await lines.turns("1")
    assert turn["user_text"] == "Two rotis"


async def test_a_table_is_watched_once_and_no_more_after_unwatch(lines: Chat) -> None:
    await lines.run(WATCH)
    await lines.run(INSERT, 1, "user", "Hi", "u1")
    assert await lines.run("SELECT evalqueue_unwatch('chat.lines')") == [(True,)]
    assert await lines.run("SELECT evalqueue_unwatch('chat.lines')") == [(False,)]
    await lines.run(INSERT, 2, "user", "Hi", "u1")
    assert await lines.run("SELECT count(*) FROM watched_rows") == [(1,)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            ("'conversation_id'", "'thread'"),
            "chat.lines has no column thread\nHINT:  It has number",
        ),
        (("'conversation_id'", "NULL"), "Name the columns of thread_id, content and role"),
        (("'told_by')", "'told_by', owner => '')"), "owner: one line of 1 to 200 bytes"),
        (("chat.lines", "chat.nothing"), 'relation "chat.nothing" does not exist'),
    ],
)
async def test_what_can_not_be_watched_is_refused(
    lines: Chat, change: tuple[str, str], reason: str
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        await lines.run(WATCH.replace(*change))
    assert reason in str(refused.value)


async def test_forgetting_a_user_takes_the_rows_that_were_not_stored_yet(lines: Chat) -> None:
    await lines.run(INSERT, 1, "user", "Hi", "u1")
    await lines.run(INSERT, 2, "user", "Hi", "u2")
    counts = await forgetting.forget(lines.database, "u1")

    assert (counts["posted_threads"], counts["posted_messages"]) == (1, 1)
    assert (await lines.read(**POSTED))["read"] == 1
    assert await lines.evaluated() == [["2"]]
