"""A small client of the HTTP API, on the standard library."""

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from evalqueue.errors import EvalqueueError, InvalidParams, Problem

_TIMEOUT_SECONDS = 60.0


class ApiError(EvalqueueError):
    """The API answered with an error."""


class ApiClient:
    """Calls the API on loopback: without proxies and TLS."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    async def get(self, path: str) -> Any:
        """The JSON of a path.

        Raises:
            ApiError: the status is 400 or above.
        """
        return await asyncio.to_thread(self._call, "GET", path, None)

    async def post(self, path: str, body: object) -> Any:
        """The JSON of the response.

        Raises:
            InvalidParams: the params of the job are refused.
            ApiError: the status is 400 or above.
        """
        return await asyncio.to_thread(self._call, "POST", path, body)

    def _call(self, method: str, path: str, body: object) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if text else {}
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status == http.client.UNPROCESSABLE_ENTITY:
            raise InvalidParams([
                Problem(loc=tuple(each["loc"]), msg=each["msg"]) for each in answer["detail"]
            ])  # fmt: skip
        if response.status >= http.client.BAD_REQUEST:
            raise ApiError(f"{method} {path}: {response.status} {answer.get('detail')}")
        return answer
