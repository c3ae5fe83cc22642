"""The ASGI application: all operations and the page, behind the guards."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

import evalqueue
from evalqueue.client import Client
from evalqueue.errors import CannotListen
from evalqueue.http import openapi
from evalqueue.http.access_log import log_request
from evalqueue.http.callers import RequestContext
from evalqueue.http.error_responses import EXPECTED_ERRORS, error_response, internal_error
from evalqueue.http.events.broadcaster import Broadcaster
from evalqueue.http.guards.authentication import Authentication, RequireCaller
from evalqueue.http.guards.body_limits import BodyDeadline, BodyLimit
from evalqueue.http.guards.origins import KnownHost, KnownOrigin
from evalqueue.http.guards.rate_limits import GuessLimit, RateLimit
from evalqueue.http.guards.root_path import RootPath, root_path_of
from evalqueue.http.guards.sessions import GUESSES, Authenticator
from evalqueue.http.guards.single_sign_on import SingleSignOn
from evalqueue.http.guards.upload_shares import UploadShares
from evalqueue.http.headers import SecurityHeaders
from evalqueue.http.operations import EmptyRequest, Operation, routes
from evalqueue.http.request_metrics import ApiMetrics, ObserveRequests
from evalqueue.http.routes import (
    adversarial,
    alerts,
    apps,
    datasets,
    evaluators,
    events,
    figures,
    fleet,
    health,
    jobs,
    labels,
    page,
    reports,
    runs,
)
from evalqueue.http.routes.sign_in import session, single_sign_on
from evalqueue.settings import Settings
from evalqueue.telemetry import tasks


def create_app(client: Client, *, root_path: str | None = None) -> Starlette:
    """The HTTP API of a client and the page, for any ASGI server.

    The caller opens and closes the client. Tokens, origins and limits come from its settings. Event
    streams don't end by themselves: a server that shuts down calls `state.broadcaster.end()` before
    it waits for requests.

    Args:
        root_path: what a proxy serves it under, such as `/evalqueue`; None: the settings'.

    Raises:
        CannotListen: its own paths begin with that, too.
    """
    served_under = client.settings.root_path if root_path is None else root_path
    broadcaster = Broadcaster(client)
    api_metrics = ApiMetrics(watchers=lambda: broadcaster.watching)
    app = Starlette(
        routes=[
            *routes(OPERATIONS, client, broadcaster),
            *_single_sign_on(client.settings),
            *page.routes(has_single_sign_on=client.settings.oidc_issuer is not None),
        ],
        middleware=[*_under(served_under), *_middleware(client, api_metrics)],
        exception_handlers={
            **dict.fromkeys(EXPECTED_ERRORS, error_response),
            Exception: internal_error,
        },
        lifespan=partial(_lifespan, broadcaster, api_metrics),
    )
    app.state.broadcaster = broadcaster
    app.state.metrics = api_metrics
    app.state.share_guesses = GuessLimit(GUESSES)
    return app


@asynccontextmanager
async def _lifespan(
    broadcaster: Broadcaster, api_metrics: ApiMetrics, _app: Starlette
) -> AsyncGenerator[None]:
    measuring = tasks.start(api_metrics.process.measure_lag(), name="lag")
    yield
    measuring.cancel()
    await api_metrics.fleet.aclose()
    await broadcaster.aclose()


async def get_openapi(context: RequestContext, request: EmptyRequest) -> dict[str, object]:
    root_path = root_path_of(context.scope)
    return openapi.document(OPERATIONS, context.client, evalqueue.__version__, root_path)


OPERATIONS: tuple[Operation, ...] = (
    *health.OPERATIONS,
    Operation(
        method="GET",
        path="/openapi.json",
        tag="health",
        summary="This document",
        handler=get_openapi,
    ),
    *session.OPERATIONS,
    *jobs.OPERATIONS,
    *datasets.OPERATIONS,
    *events.OPERATIONS,
    *runs.OPERATIONS,
    *figures.OPERATIONS,
    *reports.OPERATIONS,
    *labels.OPERATIONS,
    *adversarial.OPERATIONS,
    *apps.OPERATIONS,
    *alerts.OPERATIONS,
    *evaluators.OPERATIONS,
    *fleet.OPERATIONS,
)


def _single_sign_on(settings: Settings) -> list[Route]:
    """The addresses by which people sign in at an identity provider, if there is one."""
    if settings.oidc_issuer is None:
        return []
    is_secure = (settings.public_url or "").startswith("https://")
    return single_sign_on.routes(SingleSignOn(settings), is_secure=is_secure)


def _under(root_path: str) -> list[Middleware]:
    """What serves the application under a path."""
    if not root_path:
        return []
    first = root_path.split("/")[1]
    own = {path.split("/")[1] for path in (*page.PATHS, *(each.path for each in OPERATIONS))}
    if first in own | {"assets"}:
        raise CannotListen(
            f"The root path can't be {root_path}: paths of the API or the page begin so, too."
        )
    return [Middleware(RootPath, root_path=root_path)]


def _middleware(client: Client, api_metrics: ApiMetrics) -> list[Middleware]:
    """The guards, outermost first."""
    settings = client.settings
    observers = [api_metrics.answered, log_request]
    guards = [Middleware(ObserveRequests, observers=observers), Middleware(SecurityHeaders)]
    if not settings.needs_sign_in:
        guards.append(Middleware(KnownHost, own_names=[settings.host]))
    if settings.cors_origins:
        # Before authentication: browsers send preflight requests without a token.
        guards.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=[
                    "Authorization",
                    "Content-Type",
                    "Idempotency-Key",
                    "Last-Event-ID",
                    "Traceparent",
                ],
                expose_headers=["Retry-After"],
            )
        )
    guards.append(Middleware(KnownOrigin, origins=settings.cors_origins))
    if settings.needs_sign_in:
        authenticator = Authenticator(client, settings.api_tokens)
        guards.append(
            Middleware(Authentication, authenticator=authenticator, origins=settings.cors_origins)
        )
    if settings.rate is not None:
        guards.append(Middleware(RateLimit, rate=settings.rate))
    guards.append(Middleware(RequireCaller))
    upload_paths = [each.path for each in OPERATIONS if each.form is not None]
    guards.append(
        Middleware(
            UploadShares, max_file_bytes=settings.max_dataset_bytes, upload_paths=upload_paths
        )
    )
    guards.append(Middleware(BodyDeadline))
    guards.append(
        Middleware(
            BodyLimit,
            max_bytes=settings.max_body_bytes,
            max_file_bytes=settings.max_dataset_bytes,
            upload_paths=upload_paths,
        )
    )
    return guards
