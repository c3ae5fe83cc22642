"""The commands about sources, and a source that a schedule reads."""

import json
from collections.abc import Generator

import psycopg
import pytest
from tests.cli.conftest import Shell
from tests.conftest import url_of

SOURCES = "EVALQUEUE_SOURCES"


@pytest.fixture
def sources(dsn: str) -> Generator[str]:
    """The value of EVALQUEUE_SOURCES for a table of this database with one conversation."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA chat")
        connection.execute(
            "CREATE TABLE chat.log AS SELECT 'c1' AS ticket_id, 'Two rotis' AS question,"
            " 'Noted' AS reply, now() - interval '2 hours' AS sent_at, 'x' AS note"
        )
    yield json.dumps({"support": {"address": url_of(dsn), "relation": "chat.log"}})
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA chat CASCADE")


async def test_a_source_is_listed_checked_and_read(shell: Shell, sources: str) -> None:
    environment = {SOURCES: sources, "EVALQUEUE_LLM_PROVIDER": "simulated"}
    none = await shell.run("sources")
    listed = await shell.run("sources", **environment)
    checked = await shell.run("sources", "check", "support", **environment)
    columns = (await shell.run("sources", "check", "support", "--json", **environment)).json
    submitted = await shell.run("submit", "evaluate-source", "source=support", **environment)
    worked = await shell.run("worker", "--one-shot", **environment)
    (after,) = (await shell.run("sources", "list", "--json", **environment)).json
    jobs = (await shell.run("status", "--json")).json

    assert "No sources" in none.err
    assert "never" in listed.out
    assert "chat.log has a row for each turn" in checked.out
    assert columns["columns"] == {
        "thread_id": "ticket_id", "query_text": "question", "final_response_message": "reply",
        "timestamp": "sent_at",
    }  # fmt: skip
    assert submitted.exit_code == 0, submitted.err
    assert worked.exit_code == 0, worked.err
    assert [(each["source"], each["owner"]) for each in after["positions"]] == [
        ("support", "default")
    ]
    assert "address" not in after
    assert sorted(each["job_type"] for each in jobs) == ["evaluate-batch", "evaluate-source"]


async def test_an_unknown_source_is_refused_by_name(shell: Shell, sources: str) -> None:
    for command in (("sources", "check", "sales"), ("submit", "evaluate-source", "source=sales")):
        refused = await shell.run(*command, **{SOURCES: sources})
        assert refused.exit_code == 2
        assert "no source 'sales'" in refused.err
        assert "support" in refused.err
