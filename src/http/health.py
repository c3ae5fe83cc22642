"""Is it there, is it alive, can it work: for people, supervisors and load balancers."""

import asyncio

from pydantic import TypeAdapter

import evalqueue
from evalqueue import schema
from evalqueue.client import Client
from evalqueue.errors import DatabaseUnavailable
from evalqueue.http import representations as json
from evalqueue.http.operations import AnyOperation, Nothing, Operation

READY_WITHIN = 3.0  # seconds: a probe must not hang as long as a request may


async def index(_client: Client, _asked: Nothing) -> json.Index:
    return json.Index(version=evalqueue.__version__)


async def get_health(_client: Client, _asked: Nothing) -> json.Alive:
    return json.Alive()


async def get_readiness(client: Client, _asked: Nothing) -> json.Ready:
    try:
        async with asyncio.timeout(READY_WITHIN):
            await schema.verify(await client.database())
    except TimeoutError as error:
        raise DatabaseUnavailable(f"No answer within {READY_WITHIN:.0f} s") from error
    return json.Ready(version=evalqueue.__version__)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/",
        tag="health",
        summary="Where to look",
        asks=Nothing,
        tells=TypeAdapter(json.Index),
        answer=index,
    ),
    Operation(
        method="GET",
        path="/healthz",
        tag="health",
        summary="The process is alive",
        asks=Nothing,
        tells=TypeAdapter(json.Alive),
        answer=get_health,
    ),
    Operation(
        method="GET",
        path="/readyz",
        tag="health",
        summary="The database answers and its schema is current",
        asks=Nothing,
        tells=TypeAdapter(json.Ready),
        answer=get_readiness,
        errors=(503,),
    ),
)
