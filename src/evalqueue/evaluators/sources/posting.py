"""Applications post the messages of their conversations, as they happen."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from psycopg.errors import InvalidParameterValue, UniqueViolation

from evalqueue import codec
from evalqueue.client import Client
from evalqueue.errors import InvalidParams, KeyReused, Problem
from evalqueue.evaluators.sources.posted import QUERIES
from evalqueue.postgres.database import Connection
from evalqueue.postgres.rows import jsonb


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedCounts:
    """What a post has stored."""

    added: int
    """Messages that are new."""
    known: int
    """Messages that were posted before."""


async def post_messages(
    client: Client,
    threads: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    owner: str = "default",
    connection: Connection | None = None,
) -> PostedCounts:
    """Store messages of conversations for `evaluate-source` with `source="posted"`.

    A message that was posted before is known by its id, or without one by its time and content:
    repeating a post changes nothing.

    Args:
        threads: `{"thread_id", "app_id"?, "user_id"?, "messages": [{"role", "content", "id"?,
            "timestamp"?, …}]}`, or up to 100 of these. A message has an id, or a timestamp.
        owner: whose conversations they are.
        connection: a psycopg connection of yours: they appear when your transaction commits.

    Raises:
        InvalidParams: everything that is wrong; nothing was stored.
        KeyReused: a message with this id has other content.
    """
    arguments = {"threads": jsonb(threads), "owner": codec.clean_text(owner)}
    async with AsyncExitStack() as stack:
        if connection is None:
            database = await client.database()
            connection = await stack.enter_async_context(database.connection())
        try:
            return await QUERIES.only_row(connection, PostedCounts, "post", **arguments)
        except InvalidParameterValue as error:
            raise InvalidParams(_problems(error)) from error
        except UniqueViolation as error:
            raise KeyReused(error.diag.message_primary or str(error)) from error


def _problems(error: InvalidParameterValue) -> list[Problem]:
    """What SQL refused, with the place in the request."""
    text = error.diag.message_primary or str(error)
    if not error.diag.message_detail:
        return [Problem(loc=("threads",), msg=text)]
    return [
        Problem(
            loc=(
                "threads",
                each["thread"],
                *(() if each["message"] is None else ("messages", each["message"])),
                *(() if each["field"] is None else (each["field"],)),
            ),
            msg=each["problem"],
        )
        for each in json.loads(error.diag.message_detail)
    ]
