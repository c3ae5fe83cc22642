"""OpenAI's files and batches, and Azure's, which differ in their addresses."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evalqueue.evaluators.simulated.vendor.batches.book import (
    AnswerItem,
    BatchBook,
    BatchEntry,
    BatchJob,
    BatchPhase,
    is_ok,
    sent,
)
from evalqueue.evaluators.simulated.vendor.protocols.protocol import VendorReply

_STATUS = {
    BatchPhase.REFUSED: "failed",
    BatchPhase.RUNNING: "in_progress",
    BatchPhase.COMPLETED: "completed",
    BatchPhase.EXPIRED: "expired",
    BatchPhase.CANCELLED: "cancelled",
}
_WINDOW_SECONDS = 86_400
_PAGE = 20
_MAX_FILE_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredFile:
    id: str
    name: str
    key: str
    content: bytes


class OpenAIBatches:
    """The routes of files and batches."""

    def __init__(self, book: BatchBook, answer: AnswerItem, *, is_azure: bool) -> None:
        self._book = book
        self._answer = answer
        self._is_azure = is_azure
        self._files: dict[str, _StoredFile] = {}
        self._deleted = set[str]()
        self._numbers = itertools.count(1)

    @property
    def routes(self) -> list[Route]:
        base = "/openai" if self._is_azure else "/v1"
        return [
            Route(f"{base}/files", self._upload, methods=["POST"]),
            Route(f"{base}/files/{{id}}", self._delete, methods=["DELETE"]),
            Route(f"{base}/files/{{id}}/content", self._content),
            Route(f"{base}/batches", self._create, methods=["POST"]),
            Route(f"{base}/batches", self._list),
            Route(f"{base}/batches/{{id}}", self._retrieve),
            Route(f"{base}/batches/{{id}}/cancel", self._cancel, methods=["POST"]),
        ]

    async def _upload(self, request: Request) -> Response:
        async with request.form(max_part_size=_MAX_FILE_BYTES) as form:
            uploaded = form["file"]
            if isinstance(uploaded, str) or form.get("purpose") != "batch":
                return _error(400, "A file for a batch is expected.")
            content = await uploaded.read()
            name = uploaded.filename or ""
        stored = self._store(name, content, key=_key(request))
        return JSONResponse({
            "id": stored.id, "object": "file", "bytes": len(content), "created_at": 0,
            "filename": name, "purpose": "batch", "status": "processed",
        })  # fmt: skip

    async def _delete(self, request: Request) -> Response:
        stored = self._file(request.path_params["id"], request)
        if stored is None:
            return _error(404, "No such File object.")
        del self._files[stored.id]
        self._deleted.add(stored.id)
        return JSONResponse({"id": stored.id, "object": "file", "deleted": True})

    async def _content(self, request: Request) -> Response:
        stored = self._file(request.path_params["id"], request)
        if stored is None:
            return _error(404, "No such File object.")
        return Response(stored.content, media_type="application/octet-stream")

    async def _create(self, request: Request) -> Response:
        asked = await request.json()
        stored = self._file(asked.get("input_file_id", ""), request)
        if stored is None:
            return _error(400, "There is no such input file.")
        try:
            lines = [json.loads(line) for line in stored.content.splitlines() if line.strip()]
            bodies = {line["custom_id"]: line["body"] for line in lines}
            entries = [BatchEntry(key=line["custom_id"], body=sent(line["body"])) for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"Invalid input file: {error!r}")
        headers = dict(request.headers)

        def answer(entry: BatchEntry) -> VendorReply:
            if not self._is_azure:
                return self._answer(entry.body, "/v1/chat/completions", {}, headers)
            model = str(bodies[entry.key].get("model", ""))
            path = f"/openai/deployments/{model}/chat/completions"
            return self._answer(entry.body, path, {"deployment": model}, headers)

        batch = self._book.create(
            entries,
            answer,
            key=_key(request),
            labels=dict(asked.get("metadata") or {}),
            input_file=stored.id,
        )
        return JSONResponse(self._shown(batch))

    async def _list(self, request: Request) -> Response:
        found = self._book.newest(key=_key(request))
        after = request.query_params.get("after")
        if after is not None:
            found = list(itertools.dropwhile(lambda each: each.id != after, found))[1:]
        limit = int(request.query_params.get("limit", _PAGE))
        page = found[:limit]
        return JSONResponse({
            "object": "list", "data": [self._shown(each) for each in page],
            "first_id": page[0].id if page else None, "last_id": page[-1].id if page else None,
            "has_more": len(found) > limit,
        })  # fmt: skip

    async def _retrieve(self, request: Request) -> Response:
        batch = self._book.find(request.path_params["id"], key=_key(request))
        if batch is None:
            return _error(404, "No batch with this id.")
        return JSONResponse(self._shown(batch))

    async def _cancel(self, request: Request) -> Response:
        batch = self._book.find(request.path_params["id"], key=_key(request))
        if batch is None:
            return _error(404, "No batch with this id.")
        self._book.cancel(batch)
        return JSONResponse(self._shown(batch))

    def _shown(self, batch: BatchJob) -> dict[str, object]:
        output, errors = self._results(batch) if batch.ended_at is not None else (None, None)
        problem = batch.problem and {
            "object": "list",
            "data": [{"code": "invalid_request", "message": batch.problem, "line": None}],
        }
        created = int(batch.created_at)
        ended = None if batch.ended_at is None else int(batch.ended_at)
        phase = batch.phase
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/chat/completions" if self._is_azure else "/v1/chat/completions",
            "errors": problem,
            "input_file_id": batch.input_file,
            "completion_window": "24h",
            "status": _STATUS[phase],
            "output_file_id": output,
            "error_file_id": errors,
            "created_at": created,
            "in_progress_at": created,
            "expires_at": created + _WINDOW_SECONDS,
            "completed_at": ended if phase is BatchPhase.COMPLETED else None,
            "failed_at": created if phase is BatchPhase.REFUSED else None,
            "expired_at": ended if phase is BatchPhase.EXPIRED else None,
            "cancelled_at": ended if phase is BatchPhase.CANCELLED else None,
            "request_counts": {
                "total": len(batch.entries), "completed": batch.answered, "failed": batch.failed,
            },
            "metadata": batch.labels,
        }  # fmt: skip

    def _results(self, batch: BatchJob) -> tuple[str | None, str | None]:
        """The ids of the files with the answers and the errors of a batch that has ended."""
        answered = list(zip(batch.entries, batch.replies, strict=False))
        good = [_line(entry, reply) for entry, reply in answered if is_ok(reply)]
        bad = [_line(entry, reply) for entry, reply in answered if not is_ok(reply)]
        code = "batch_expired" if batch.phase is BatchPhase.EXPIRED else "batch_cancelled"
        message = "This request could not be executed before the batch ended."
        bad += [
            {
                "id": f"batch_req_{entry.key}", "custom_id": entry.key, "response": None,
                "error": {"code": code, "message": message},
            }
            for entry in batch.entries[len(answered) :]
        ]  # fmt: skip
        return self._result(batch, "output", good), self._result(batch, "error", bad)

    def _result(
        self, batch: BatchJob, kind: str, lines: Sequence[Mapping[str, object]]
    ) -> str | None:
        if not lines:
            return None
        file_id = f"file-{batch.id}-{kind}"
        if file_id not in self._files and file_id not in self._deleted:
            content = "".join(json.dumps(line) + "\n" for line in lines).encode()
            self._files[file_id] = _StoredFile(
                id=file_id, name=f"{batch.id}_{kind}.jsonl", key=batch.key, content=content
            )
        return file_id

    def _store(self, name: str, content: bytes, *, key: str) -> _StoredFile:
        stored = _StoredFile(
            id=f"file-{next(self._numbers):06d}", name=name, key=key, content=content
        )
        self._files[stored.id] = stored
        return stored

    def _file(self, file_id: str, request: Request) -> _StoredFile | None:
        stored = self._files.get(file_id)
        return stored if stored is not None and stored.key == _key(request) else None


def _line(entry: BatchEntry, reply: VendorReply) -> dict[str, object]:
    response = {
        "status_code": reply.status,
        "request_id": reply.headers.get("x-request-id", ""),
        "body": reply.body,
    }
    return {
        "id": f"batch_req_{entry.key}",
        "custom_id": entry.key,
        "response": response,
        "error": None,
    }


def _key(request: Request) -> str:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.headers.get("api-key", bearer)


def _error(status: int, message: str) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status)
