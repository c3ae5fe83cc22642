"""Gemini's files and batches.

A file is uploaded in two steps: the first one gets an address for the second.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from evalqueue.evaluators.simulated.vendor.batches.book import (
    AnswerItem,
    BatchBook,
    BatchEntry,
    BatchJob,
    BatchPhase,
    is_ok,
)
from evalqueue.evaluators.simulated.vendor.protocols.protocol import VendorReply

_STATE = {
    BatchPhase.REFUSED: "BATCH_STATE_FAILED",
    BatchPhase.RUNNING: "BATCH_STATE_RUNNING",
    BatchPhase.COMPLETED: "BATCH_STATE_SUCCEEDED",
    BatchPhase.EXPIRED: "BATCH_STATE_EXPIRED",
    BatchPhase.CANCELLED: "BATCH_STATE_CANCELLED",
}
_PAGE = 50


@dataclass(slots=True, kw_only=True)
class _Upload:
    id: str
    key: str
    name: str
    content: bytearray = field(default_factory=bytearray)


class _GoogleRoute(Route):
    """A route for requests with Google's key: OpenAI has some of the same paths."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if b"x-goog-api-key" not in dict(scope.get("headers", [])):
            return Match.NONE, {}
        return super().matches(scope)


class GeminiBatches:
    """The routes of files and batches."""

    def __init__(self, book: BatchBook, answer: AnswerItem) -> None:
        self._book = book
        self._answer = answer
        self._files: dict[str, _Upload] = {}
        self._deleted = set[str]()
        self._numbers = itertools.count(1)

    @property
    def routes(self) -> list[Route]:
        routes: list[Route] = [Route("/upload/{version}/files", self._upload, methods=["POST"])]
        for version in ("/v1", "/v1beta"):
            routes += [
                _GoogleRoute(f"{version}/files/{{id}}:download", self._download),
                _GoogleRoute(f"{version}/files/{{id}}", self._delete, methods=["DELETE"]),
                _GoogleRoute(
                    f"{version}/models/{{model}}:batchGenerateContent",
                    self._create,
                    methods=["POST"],
                ),
                _GoogleRoute(f"{version}/batches", self._list),
                _GoogleRoute(f"{version}/batches/{{id}}:cancel", self._cancel, methods=["POST"]),
                _GoogleRoute(f"{version}/batches/{{id}}", self._get),
            ]
        return routes

    async def _upload(self, request: Request) -> Response:
        command = request.headers.get("x-goog-upload-command", "")
        if command == "start":
            asked = (await request.json()).get("file", {})
            number = next(self._numbers)
            upload = _Upload(
                id=f"file{number:06d}", key=_key(request), name=asked.get("displayName", "")
            )
            self._files[upload.id] = upload
            url = request.url.include_query_params(upload_id=upload.id)
            headers = {"x-goog-upload-url": str(url), "x-goog-upload-status": "active"}
            return JSONResponse({}, headers=headers)
        upload = self._files.get(request.query_params.get("upload_id", ""))
        if upload is None:
            return _error(404, "There is no such upload.", "NOT_FOUND")
        upload.content += await request.body()
        if "finalize" not in command:
            return JSONResponse({}, headers={"x-goog-upload-status": "active"})
        shown = {
            "name": f"files/{upload.id}", "displayName": upload.name, "state": "ACTIVE",
            "sizeBytes": str(len(upload.content)), "mimeType": "application/jsonl",
        }  # fmt: skip
        return JSONResponse({"file": shown}, headers={"x-goog-upload-status": "final"})

    async def _download(self, request: Request) -> Response:
        upload = self._file(request.path_params["id"], request)
        if upload is None:
            return _error(404, "There is no such file.", "NOT_FOUND")
        return Response(bytes(upload.content), media_type="application/octet-stream")

    async def _delete(self, request: Request) -> Response:
        upload = self._file(request.path_params["id"], request)
        if upload is None:
            return _error(404, "There is no such file.", "NOT_FOUND")
        del self._files[upload.id]
        self._deleted.add(upload.id)
        return JSONResponse({})

    async def _create(self, request: Request) -> Response:
        asked = (await request.json()).get("batch", {})
        name = asked.get("inputConfig", {}).get("fileName", "").removeprefix("files/")
        upload = self._file(name, request)
        if upload is None:
            return _error(400, "There is no such input file.", "INVALID_ARGUMENT")
        try:
            lines = [json.loads(line) for line in upload.content.splitlines() if line.strip()]
            # As the SDK sends a request by itself.
            entries = [
                BatchEntry(key=line["key"], body=json.dumps(line["request"]).encode())
                for line in lines
            ]
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"Invalid input file: {error!r}", "INVALID_ARGUMENT")
        model, headers = request.path_params["model"], dict(request.headers)
        path = request.url.path.replace(":batchGenerateContent", ":generateContent")
        batch = self._book.create(
            entries,
            lambda entry: self._answer(entry.body, path, {"model": model}, headers),
            key=_key(request),
            labels={"displayName": asked.get("displayName", ""), "model": f"models/{model}"},
            input_file=upload.id,
        )
        return JSONResponse(self._shown(batch))

    async def _list(self, request: Request) -> Response:
        found = self._book.newest(key=_key(request))
        start = int(request.query_params.get("pageToken", 0))
        end = start + int(request.query_params.get("pageSize", _PAGE))
        following = {"nextPageToken": str(end)} if end < len(found) else {}
        operations = [self._shown(each) for each in found[start:end]]
        return JSONResponse({"operations": operations, **following})

    async def _get(self, request: Request) -> Response:
        batch = self._book.find(request.path_params["id"], key=_key(request))
        if batch is None:
            return _error(404, "There is no such batch.", "NOT_FOUND")
        return JSONResponse(self._shown(batch))

    async def _cancel(self, request: Request) -> Response:
        batch = self._book.find(request.path_params["id"], key=_key(request))
        if batch is None:
            return _error(404, "There is no such batch.", "NOT_FOUND")
        self._book.cancel(batch)
        return JSONResponse({})

    def _shown(self, batch: BatchJob) -> dict[str, object]:
        created = datetime.fromtimestamp(batch.created_at, UTC).isoformat()
        metadata: dict[str, object] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            **batch.labels,
            "name": f"batches/{batch.id}",
            "state": _STATE[batch.phase],
            "createTime": created,
            "updateTime": created,
        }
        if batch.phase in {BatchPhase.COMPLETED, BatchPhase.EXPIRED, BatchPhase.CANCELLED}:
            metadata["output"] = {"responsesFile": self._responses(batch)}
        return {"name": f"batches/{batch.id}", "metadata": metadata}

    def _responses(self, batch: BatchJob) -> str:
        """The name of the file with what became of each question that had its turn."""
        file_id = f"{batch.id}-responses"
        if file_id not in self._files and file_id not in self._deleted:
            lines = _lines(batch.entries, batch.replies)
            content = bytearray("".join(json.dumps(line) + "\n" for line in lines).encode())
            self._files[file_id] = _Upload(id=file_id, key=batch.key, name=file_id, content=content)
        return f"files/{file_id}"

    def _file(self, file_id: str, request: Request) -> _Upload | None:
        upload = self._files.get(file_id)
        return upload if upload is not None and upload.key == _key(request) else None


def _lines(
    entries: Sequence[BatchEntry], replies: Sequence[VendorReply]
) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for entry, reply in zip(entries, replies, strict=False):
        if is_ok(reply):
            found.append({"key": entry.key, "response": reply.body})
        else:
            error = {"code": reply.status, "message": "An internal error has occurred."}
            found.append({"key": entry.key, "error": {**error, "status": "INTERNAL"}})
    return found


def _key(request: Request) -> str:
    return request.headers.get("x-goog-api-key", "")


def _error(code: int, message: str, status: str) -> Response:
    error = {"code": code, "message": message, "status": status}
    return JSONResponse({"error": error}, status_code=code)
