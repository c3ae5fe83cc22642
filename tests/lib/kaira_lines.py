"""A Kaira server that sends the bytes that a test sets, and records the requests."""

import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from evalqueue.evaluators.chatbots.targets import ChatbotSettings, Credential, Target, check
from evalqueue.evaluators.simulated.loopback import Loopback

CREDENTIAL = Credential(
    name="one", user_id="user-1", token=SecretStr("made-up-token"), host="localhost"
)


def target(url: str, protocol: str, **options: Any) -> Target:
    return check(url, ChatbotSettings(), protocol=protocol, **options)


def event(**chunk: Any) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


@dataclass
class Teller:
    """The next answers, one per request; the last one is repeated."""

    answers: deque[bytes]
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    paths: list[str] = field(default_factory=list[str])
    url: str = ""

    def will_say(self, *answers: bytes) -> None:
        self.answers = deque(answers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.requests.append(json.loads(body))
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        self.paths.append(scope["path"])
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def telling(*answers: bytes) -> AsyncGenerator[Teller]:
    teller = Teller(deque(answers or [b""]))
    server = Loopback(teller)
    await server.start()
    teller.url = server.url
    try:
        yield teller
    finally:
        await server.stop()
