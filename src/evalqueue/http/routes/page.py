"""The page: one document for all its addresses, and the files it is made of.

They are package data, the same in a checkout and in a wheel. Nothing is kept by a browser without
asking whether it is still the same: a page and an API of different versions never meet for long.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evalqueue.http.headers import ASSET_HEADERS, PAGE_HEADERS

FOLDER = Path(__file__).parents[1] / "page"

PATHS = (
    "/",
    "/new",
    "/jobs/{id}",
    "/runs",
    "/runs/{id}",
    "/runs/{id}/threads/{evaluation_id}",
    "/runs/{id}/cases/{case_id}",
    "/datasets",
    "/workers",
)
"""The page's addresses. Which is which, its script sees."""

MEDIA_TYPES = {
    "": "text/plain; charset=utf-8",  # licences
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""By the ends of names. Others are not served."""

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*(/[\w-]+(\.[\w-]+)*)*", re.ASCII)  # so none is ".."
_MAX_NAME = 200  # characters; what can't be a name is not looked for
_COMPRESSED = ("text/", "image/svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file, and how it is sent."""

    content: bytes
    compressed: bytes | None
    """Null where that would save nothing."""
    media_type: str
    digest: str

    def reply(self, request: Request, guarded: Mapping[str, str]) -> Response:
        content, tag = self.content, f'"{self.digest}"'
        headers = {**guarded, "Vary": "Accept-Encoding"}
        if self.compressed is not None and _takes_gzip(request):
            content, tag = self.compressed, f'"{self.digest}-gzip"'
            headers["Content-Encoding"] = "gzip"
        headers["ETag"] = tag
        if _has(request, tag):
            headers.pop("Content-Encoding", None)
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=self.media_type)


def routes() -> list[Route]:
    """The page's addresses, and `/assets/…`."""
    return [
        *(Route(path, _document) for path in PATHS),
        Route("/assets/{name:path}", _asset),
    ]


async def _document(request: Request) -> Response:
    return _file("index.html").reply(request, PAGE_HEADERS)


async def _asset(request: Request) -> Response:
    return _file(request.path_params["name"]).reply(request, ASSET_HEADERS)


def _file(name: str) -> _File:
    path = FOLDER / name
    is_name = len(name) <= _MAX_NAME and _NAME.fullmatch(name) and path.suffix in MEDIA_TYPES
    if not is_name or not path.is_file():
        raise HTTPException(404, "There is no such file")
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _read(path: Path, _changed_at: int) -> _File:
    content = path.read_bytes()
    media_type = MEDIA_TYPES[path.suffix]
    compressed = gzip.compress(content, mtime=0) if media_type.startswith(_COMPRESSED) else content
    return _File(
        content=content,
        compressed=compressed if len(compressed) < len(content) else None,
        media_type=media_type,
        digest=hashlib.sha256(content).hexdigest()[:32],
    )


def _takes_gzip(request: Request) -> bool:
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, rest = each.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", rest)
    return False


def _has(request: Request, tag: str) -> bool:
    """Whether the browser has what it would get."""
    known = request.headers.get("if-none-match", "")
    return tag in {each.strip().removeprefix("W/") for each in known.split(",")}
