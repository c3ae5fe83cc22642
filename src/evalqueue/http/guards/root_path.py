"""The path under which a proxy serves the API and the page."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Says in which part of its path a request was meant for this application (`root_path` of
    ASGI). Proxies may strip that part, or pass it on: afterwards each path has it once.

    Args:
        root_path: such as `/evalqueue`; no path of the application begins with it.
    """

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "root_path": self._root_path, "path": self._whole(scope["path"])}
        await self._app(scope, receive, send)

    def _whole(self, path: str) -> str:
        if path == self._root_path:
            return f"{path}/"
        return path if path.startswith(f"{self._root_path}/") else f"{self._root_path}{path}"


def root_path_of(scope: Scope) -> str:
    """The part of a request's path before the application's own: "" where there is none."""
    root_path: str = scope.get("root_path", "")
    return root_path


def path_of(scope: Scope) -> str:
    """A request's path without what the application is served under."""
    path: str = scope["path"]
    return path.removeprefix(root_path_of(scope))
