"""Is it there, is it alive, can it work: for people, supervisors and load balancers."""

import asyncio

from pydantic import TypeAdapter

import evalqueue
from evalqueue import doctor
from evalqueue.doctor import Finding, Level
from evalqueue.errors import DatabaseUnavailable
from evalqueue.http.callers import Call
from evalqueue.http.error_responses import NotReady
from evalqueue.http.models import fleet as json
from evalqueue.http.operations import AnyOperation, Nothing, Operation
from evalqueue.postgres import fleet
from evalqueue.postgres.database import TRANSIENT

READY_WITHIN = 3.0  # seconds: a probe must not hang as long as a request may
MARGIN = 0.5  # seconds of it in which what takes longest is given up by itself, and says why
VITAL = ("database", "schema", "notifications")

_given_up: set[asyncio.Task[list[Finding]]] = set()
"""Looks that nobody waits for any more. A driver lets go of a statement when its server agrees."""


async def get_health(_call: Call, _asked: Nothing) -> json.Alive:
    return json.Alive()


async def get_readiness(call: Call, _asked: Nothing) -> json.Ready:
    found: dict[str, Finding] = {}
    looking = asyncio.create_task(_look(call, found), name="readiness")
    _given_up.add(looking)
    looking.add_done_callback(_given_up.discard)
    await asyncio.wait({looking}, timeout=READY_WITHIN)
    if looking.done():
        warnings = looking.result()
    else:
        looking.cancel()
        warnings = []  # what matters may have been found by then
        found.setdefault("database", doctor.no_database(TimeoutError()))
    vital = [found.get(name) or doctor.not_looked_at(name) for name in VITAL]
    checks = [json.Check.of(each) for each in vital]
    for each in vital:
        if each.level is not Level.OK:
            why = f"{each.what} What to do: {each.fix}"
            raise NotReady(json.Unready(detail=why, version=evalqueue.__version__, checks=checks))
    return json.Ready(
        version=evalqueue.__version__,
        checks=checks,
        # A fleet without workers, or with too few, is no reason to take away the door by which
        # jobs are submitted, looked at and cancelled.
        warnings=[json.Check.of(each) for each in warnings],
    )


async def _look(call: Call, found: dict[str, Finding]) -> list[Finding]:
    """Find one vital thing after the other. Returns what else there is to say."""
    loop = asyncio.get_running_loop()
    until = loop.time() + READY_WITHIN - MARGIN
    try:
        database = await call.client.database()
        found["database"] = await doctor.answers(database)
        found["schema"] = await doctor.schema_is_current(database)
        left = until - loop.time()
        found["notifications"] = await doctor.hears(
            await call.client.listener(), within_seconds=left
        )
        if any(each.level is not Level.OK for each in found.values()):
            return []
        async with database.connection() as connection:
            return doctor.warnings(await fleet.pulse(connection))
    except (DatabaseUnavailable, *TRANSIENT) as error:
        found["database"] = doctor.no_database(error)
        return []


OPERATIONS: tuple[AnyOperation, ...] = (
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
        summary="The database answers, its schema is current, and notifications arrive",
        asks=Nothing,
        tells=TypeAdapter(json.Ready),
        answer=get_readiness,
        errors=(503,),
        says_more={503: json.Unready},
    ),
)
