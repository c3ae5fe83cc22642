"""The page: one document for all its addresses, and the files it consists of.

The files are package data, the same in a checkout and in a wheel. Browsers revalidate each file on
every use, so that a page soon has the version of its API.
"""

import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evalqueue.http.guards.root_path import root_path_of
from evalqueue.http.headers import ASSET_HEADERS, PAGE_HEADERS

FOLDER = Path(__file__).parents[1] / "page"

ROUTES: Sequence[Mapping[str, str]] = json.loads((FOLDER / "routes.json").read_text("utf-8"))
"""The page's routes, which its router reads, too: each has a `path` and a `view`."""

PATHS = tuple(route["path"] for route in ROUTES)
"""The page's addresses."""

MEDIA_TYPES = {
    "": "text/plain; charset=utf-8",  # licences
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""By the suffix of the file name. Files with other suffixes are not served."""

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*(/[\w-]+(\.[\w-]+)*)*", re.ASCII)  # so none is ".."
_MAX_NAME = 200  # characters; longer names are not looked up
_COMPRESSED = ("text/", "image/svg", "application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file in memory, with all that its responses need."""

    content: bytes
    compressed: bytes | None
    """None if compression saves nothing."""
    media_type: str
    digest: str

    def reply(self, request: Request, guarded: Mapping[str, str]) -> Response:
        content, tag = self.content, f'"{self.digest}"'
        headers = {**guarded, "Vary": "Accept-Encoding"}
        if self.compressed is not None and _accepts_gzip(request):
            content, tag = self.compressed, f'"{self.digest}-gzip"'
            headers["Content-Encoding"] = "gzip"
        headers["ETag"] = tag
        if _is_current(request, tag):
            headers.pop("Content-Encoding", None)
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=self.media_type)


def routes(*, has_single_sign_on: bool = False) -> list[Route]:
    """The page's addresses, and `/assets/…`."""

    async def document(request: Request) -> Response:
        root_path = root_path_of(request.scope)
        file = _file("index.html", root_path, has_single_sign_on=has_single_sign_on)
        return file.reply(request, PAGE_HEADERS)

    return [
        *(Route(path, document) for path in PATHS),
        Route("/assets/{name:path}", _asset),
    ]


async def _asset(request: Request) -> Response:
    return _file(request.path_params["name"]).reply(request, ASSET_HEADERS)


def _file(name: str, root_path: str = "", *, has_single_sign_on: bool = False) -> _File:
    """A file; `root_path` is put before the addresses of its links."""
    path = FOLDER / name
    is_name = len(name) <= _MAX_NAME and _NAME.fullmatch(name) and path.suffix in MEDIA_TYPES
    if not is_name or not path.is_file():
        raise HTTPException(404, "There is no such file")
    return _read(path, path.stat().st_mtime_ns, root_path, has_single_sign_on)


@lru_cache(maxsize=512)
def _read(path: Path, _changed_at: int, root_path: str, has_single_sign_on: bool) -> _File:
    content = path.read_bytes()
    if has_single_sign_on:
        content = content.replace(b"<html ", b"<html data-single-sign-on ")
    if root_path:
        content = content.replace(b'="/', f'="{html.escape(root_path)}/'.encode())
    media_type = MEDIA_TYPES[path.suffix]
    compressed = gzip.compress(content, mtime=0) if media_type.startswith(_COMPRESSED) else content
    return _File(
        content=content,
        compressed=compressed if len(compressed) < len(content) else None,
        media_type=media_type,
        digest=hashlib.sha256(content).hexdigest()[:32],
    )


def _accepts_gzip(request: Request) -> bool:
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, rest = each.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", rest)
    return False


def _is_current(request: Request, tag: str) -> bool:
    """Whether the browser's copy is the current one."""
    known = request.headers.get("if-none-match", "")
    return tag in {each.strip().removeprefix("W/") for each in known.split(",")}
