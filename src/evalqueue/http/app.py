"""The application: all operations and the page, behind all guards."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

import evalqueue
from evalqueue.client import Client
from evalqueue.http import openapi
from evalqueue.http.callers import Call
from evalqueue.http.error_responses import REFUSED, bug, refusal
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.http.guards import sessions
from evalqueue.http.guards.body_limits import BodyLimit, SteadyBody
from evalqueue.http.guards.middleware import Admitted, KnownCaller, KnownHost, KnownOrigin
from evalqueue.http.guards.rate_limits import RateLimit
from evalqueue.http.guards.sessions import Door
from evalqueue.http.headers import SecurityHeaders
from evalqueue.http.operations import AnyOperation, Nothing, Operation, routes
from evalqueue.http.routes import (
    adversarial,
    choices,
    datasets,
    events,
    figures,
    fleet,
    health,
    jobs,
    page,
    runs,
)
from evalqueue.settings import Settings


def create_app(client: Client) -> Starlette:
    """The HTTP API of a client and the page on it, for any ASGI server.

    The client stays its owner's, to open and to close; so are its settings: tokens, origins and
    limits are taken from them. Streams of events end when their clients leave: whoever serves
    it calls `state.bulletin.end()` before waiting for them.
    """
    broadcaster = Broadcaster(client)
    app = Starlette(
        routes=[*routes(OPERATIONS, client, broadcaster), *page.routes()],
        middleware=_middleware(client.settings),
        exception_handlers={**dict.fromkeys(REFUSED, refusal), Exception: bug},
        lifespan=partial(_lifespan, broadcaster),
    )
    app.state.broadcaster = broadcaster
    return app


@asynccontextmanager
async def _lifespan(broadcaster: Broadcaster, _app: Starlette) -> AsyncGenerator[None]:
    yield
    await broadcaster.aclose()


async def get_openapi(call: Call, _asked: Nothing) -> dict[str, Any]:
    return openapi.document(OPERATIONS, call.client, evalqueue.__version__)


OPERATIONS: tuple[AnyOperation, ...] = (
    *health.OPERATIONS,
    Operation(
        method="GET",
        path="/openapi.json",
        tag="health",
        summary="This document",
        asks=Nothing,
        tells=TypeAdapter(dict[str, Any]),
        answer=get_openapi,
    ),
    *sessions.OPERATIONS,
    *jobs.OPERATIONS,
    *datasets.OPERATIONS,
    *events.OPERATIONS,
    *runs.OPERATIONS,
    *figures.OPERATIONS,
    *adversarial.OPERATIONS,
    *choices.OPERATIONS,
    *fleet.OPERATIONS,
)


def _middleware(settings: Settings) -> list[Middleware]:
    """From the outside in."""
    guards = [Middleware(SecurityHeaders)]
    if not settings.api_tokens:
        guards.append(Middleware(KnownHost, own_names=[settings.host]))
    if settings.cors_origins:
        # Before whoever asks for a token: a browser asks for leave without it.
        guards.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
                expose_headers=["Retry-After"],
            )
        )
    guards.append(Middleware(KnownOrigin, origins=settings.cors_origins))
    if settings.api_tokens:
        door = Door(settings.api_tokens)
        guards.append(Middleware(KnownCaller, door=door, origins=settings.cors_origins))
    if settings.rate is not None:
        guards.append(Middleware(RateLimit, rate=settings.rate))
    guards.append(Middleware(Admitted))
    guards.append(Middleware(SteadyBody))
    guards.append(
        Middleware(
            BodyLimit,
            max_bytes=settings.max_body_bytes,
            max_file_bytes=settings.max_dataset_bytes,
            uploads=[each.path for each in OPERATIONS if each.form is not None],
        )
    )
    return guards
