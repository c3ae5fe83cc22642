"""The addresses of single sign-on, which browsers open: no part of the API."""

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from evalqueue.http.guards.root_path import root_path_of
from evalqueue.http.guards.sessions import SESSION_SECONDS, authenticator_of, set_cookie
from evalqueue.http.guards.single_sign_on import (
    CALLBACK_PATH,
    STATE_COOKIE,
    STATE_SECONDS,
    SignInRefused,
    SingleSignOn,
)

SIGN_IN_PATH = "/sign-in"


def routes(single_sign_on: SingleSignOn, *, is_secure: bool) -> list[Route]:
    """Begin and finish a sign-in.

    Args:
        is_secure: whether browsers come over TLS.
    """

    async def begin(request: Request) -> Response:
        try:
            begun = await single_sign_on.begin(request, request.query_params.get("next", "/"))
        except SignInRefused as error:
            return _refused(request, error, status=503)
        response = RedirectResponse(begun.address, status_code=303)
        _set_state(response, request, begun.state, STATE_SECONDS)
        return response

    async def finish(request: Request) -> Response:
        authenticator = authenticator_of(request.scope)
        assert authenticator is not None  # noqa: S101  a server with this route needs sign-ins
        try:
            finished = await single_sign_on.finish(request, request.cookies.get(_name(), ""))
        except SignInRefused as error:
            response = _refused(request, error, status=403)
        else:
            root_path = root_path_of(request.scope)
            response = RedirectResponse(f"{root_path}{finished.next_path}", status_code=303)
            secret = await authenticator.start(finished.caller)
            cookie = set_cookie(secret, SESSION_SECONDS, secure=is_secure, root_path=root_path)
            response.headers.append("set-cookie", cookie)
        _set_state(response, request, "", 0)
        return response

    def _name() -> str:
        return f"__Secure-{STATE_COOKIE}" if is_secure else STATE_COOKIE

    def _set_state(response: Response, request: Request, value: str, seconds: int) -> None:
        # Lax: the provider sends the browser back from another site.
        response.set_cookie(
            _name(), value, max_age=seconds, path=f"{root_path_of(request.scope)}{SIGN_IN_PATH}",
            secure=is_secure, httponly=True, samesite="lax",
        )  # fmt: skip

    return [Route(SIGN_IN_PATH, begin), Route(CALLBACK_PATH, finish)]


def _refused(request: Request, error: SignInRefused, *, status: int) -> Response:
    page = escape(f"{root_path_of(request.scope)}/")
    return HTMLResponse(
        "<!doctype html><title>Not signed in</title><h1>Not signed in</h1>"
        f'<p>{escape(str(error))}</p><p><a href="{page}">Back</a></p>',
        status_code=status,
    )
