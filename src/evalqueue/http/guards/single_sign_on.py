"""Single sign-on by OpenID Connect: the authorization code flow with PKCE.

Specified in https://openid.net/specs/openid-connect-core-1_0.html. What the browser has to bring
back (state, nonce, code verifier) is in a cookie of ten minutes, so that any process of the API can
finish what another one has begun.
"""

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

from starlette.requests import Request

from evalqueue.errors import Refused, describe
from evalqueue.http.callers import ApiCaller
from evalqueue.settings import Settings
from evalqueue.tokens import NAME_RULE, is_name, right_by_claims

logger = logging.getLogger(__name__)

CALLBACK_PATH = "/sign-in/callback"
STATE_COOKIE = "evalqueue_sign_in"
STATE_SECONDS = 600
TIMEOUT_SECONDS = 10.0

_NOT_US = frozenset({"invalid_client", "unauthorized_client", "invalid_scope"})
"""Errors of the provider that the operator has to mend."""
_PROVIDER = "provider"
_SCOPES = "openid email profile"
_NEXT = "next"


class SignInRefused(Exception):
    """Somebody can't sign in; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in that goes on at the provider."""

    address: str
    """Where the browser goes."""
    state: str
    """The value of the cookie that it brings back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A sign-in that has succeeded."""

    caller: ApiCaller
    next_path: str
    """The page's address where it began."""


class SingleSignOn:
    """Signs people in by the provider of the settings.

    Raises:
        Refused: the extra `oidc` is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        if find_spec("authlib") is None:
            raise Refused("EVALQUEUE_OIDC_ISSUER is set. Run: pip install 'evalqueue[oidc]'")
        from authlib.integrations.starlette_client import OAuth

        self._settings = settings
        secret = settings.oidc_client_secret
        oauth: Any = OAuth()
        self._client: Any = oauth.register(
            name=_PROVIDER,
            client_id=settings.oidc_client_id,
            client_secret=None if secret is None else secret.get_secret_value(),
            server_metadata_url=f"{settings.oidc_issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": _SCOPES, "code_challenge_method": "S256", "timeout": TIMEOUT_SECONDS,
                # Without a secret it is a public client, which PKCE makes safe.
                **({"token_endpoint_auth_method": "none"} if secret is None else {}),
            },
        )  # fmt: skip

    async def begin(self, request: Request, next_path: str) -> Begun:
        """Start a sign-in.

        Raises:
            SignInRefused: the provider does not answer.
        """
        session: dict[str, Any] = {_NEXT: _local(next_path)}
        request.scope["session"] = session
        redirect = await self._asked(
            self._client.authorize_redirect(request, f"{self._settings.public_url}{CALLBACK_PATH}")
        )
        state = base64.urlsafe_b64encode(json.dumps(session).encode()).decode()
        return Begun(address=redirect.headers["location"], state=state)

    async def finish(self, request: Request, state: str) -> Finished:
        """Who has come back from the provider.

        Raises:
            SignInRefused: with the reason.
        """
        session = _read(state)
        request.scope["session"] = session
        token = await self._asked(self._client.authorize_access_token(request))
        return Finished(
            caller=self._caller(token.get("userinfo") or {}),
            next_path=_local(str(session.get(_NEXT, "/"))),
        )

    def _caller(self, claims: Mapping[str, Any]) -> ApiCaller:
        """The person with these claims, which the provider has signed.

        Raises:
            SignInRefused: they have no name or no right here.
        """
        claim = self._settings.oidc_name_claim
        name = claims.get(claim)
        if not isinstance(name, str) or not is_name(name):
            raise SignInRefused(
                f"The claim {claim!r} names you by something else than {NAME_RULE}."
            )
        if claim == "email" and claims.get("email_verified") is not True:
            raise SignInRefused("Your email address is not verified at the identity provider.")
        right = right_by_claims(self._settings.oidc_rights, claims)
        if right is None:
            raise SignInRefused(
                f"{name} has no right here. Ask the operator for EVALQUEUE_OIDC_RIGHTS."
            )
        return ApiCaller(name=name, right=right)

    async def _asked(self, asking: Any) -> Any:
        """What the provider answers.

        Raises:
            SignInRefused: it refused, or did not answer.
        """
        import httpx2
        from authlib.integrations.base_client import OAuthError
        from joserfc.errors import JoseError

        try:
            return await asking
        except httpx2.HTTPError as error:
            issuer = self._settings.oidc_issuer
            raise SignInRefused(f"{issuer} does not answer ({type(error).__name__}).") from error
        except (OAuthError, JoseError) as error:
            logger.warning("A sign-in was refused: %s", describe(error))
            if str(error.error) in _NOT_US:
                problem = f"The identity provider does not know this server ({error.error})."
            else:
                problem = "The sign-in is not valid, or too old. Begin again."
            raise SignInRefused(problem) from error


def _read(state: str) -> dict[str, Any]:
    """What a browser brought back, which may be anything."""
    try:
        brought = json.loads(base64.urlsafe_b64decode(state.encode()))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(brought, dict):
        return {}
    return {
        str(name): value
        for name, value in cast("dict[object, object]", brought).items()
        if isinstance(value, str) or _is_state(value)
    }


def _is_state(value: object) -> bool:
    """Whether it has the form in which authlib keeps what a sign-in has begun with."""
    if not isinstance(value, dict):
        return False
    state = cast("dict[str, object]", value)
    data = state.get("data")
    return (
        isinstance(data, dict)
        and all(isinstance(each, str) for each in cast("dict[str, object]", data).values())
        and isinstance(state.get("exp"), int | float)
    )


def _local(path: str) -> str:
    """A path of this server, never an address elsewhere."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_local and path.isprintable() else "/"
