"""Sign in and out: the page exchanges a token for a cookie that scripts can't read."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from evalqueue.http.callers import ApiCaller, RequestContext
from evalqueue.http.guards.root_path import root_path_of
from evalqueue.http.guards.sessions import (
    SESSION_SECONDS,
    authenticator_of,
    cookie_of,
    set_cookie,
)
from evalqueue.http.models.session import Session, SignedOut, SignIn
from evalqueue.http.operations import EmptyRequest, Operation
from evalqueue.tokens import VARIABLE, Right


async def get_session(context: RequestContext, request: EmptyRequest) -> Session:
    has_tokens = authenticator_of(context.scope) is not None
    return _session(context.caller, needs_token=has_tokens)


async def sign_in(context: RequestContext, request: SignIn) -> Session:
    authenticator = authenticator_of(context.scope)
    if authenticator is None:
        return _session(context.caller, needs_token=False)
    token = authenticator.token_of(request.token.strip().encode(), context.scope)
    if token is None:
        raise HTTPException(401, f"This token is none of {VARIABLE} where the server runs.")
    is_secure = Headers(scope=context.scope).get("origin", "").startswith("https://")
    caller, root_path = ApiCaller(name=token.name, right=token.right), root_path_of(context.scope)
    secret = await authenticator.start(caller, token)
    context.cookies.append(
        set_cookie(secret, SESSION_SECONDS, secure=is_secure, root_path=root_path)
    )
    return _session(caller, needs_token=True)


async def sign_out(context: RequestContext, request: EmptyRequest) -> SignedOut:
    root_path, authenticator = root_path_of(context.scope), authenticator_of(context.scope)
    if authenticator is not None and (cookie := cookie_of(context.scope)) is not None:
        await authenticator.end(cookie[0])
    context.cookies.extend(
        set_cookie("", 0, secure=secure, root_path=root_path) for secure in (False, True)
    )
    return SignedOut()


def _session(caller: ApiCaller, *, needs_token: bool) -> Session:
    return Session(name=caller.name, right=caller.right, needs_token=needs_token)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/session",
        tag="session",
        summary="The caller's name and right",
        handler=get_session,
    ),
    Operation(
        method="POST",
        path="/api/session",
        tag="session",
        summary="Sign in: exchange a token for a cookie",
        in_body=True,
        handler=sign_in,
        required_right=Right.READ,
        errors=(401,),
    ),
    Operation(
        method="DELETE",
        path="/api/session",
        tag="session",
        summary="Sign out: end the session",
        handler=sign_out,
        required_right=Right.READ,
    ),
)
