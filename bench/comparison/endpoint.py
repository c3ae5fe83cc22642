"""An OpenAI-compatible endpoint that does nothing but wait, so that clients are measured, not it.

It answers by the JSON schema in the request (the first label of each menu), or with a score if
there is none. `python endpoint.py PORT LATENCY_MS` runs it.
"""

import asyncio
import json
import sys
from typing import Any, ClassVar

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


def example(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """A value that a schema allows."""
    if "$ref" in schema:
        return example(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], root)
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: example(each, root) for name, each in schema["properties"].items()}
    simple = {"integer": 1, "number": 1, "boolean": True, "array": [], "string": "As asked."}
    return simple[schema["type"]]


class Endpoint(asyncio.Protocol):
    """One connection."""

    latency_seconds = 0.0
    bodies: ClassVar[dict[str, bytes]] = {}
    """Answers by schema."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, _, rest = head.partition(b"content-length:")
            length = int(rest.partition(b"\r\n")[0]) if rest else 0
            start = end + 4
            if len(self._buffer) < start + length:
                return
            body, self._buffer = (
                self._buffer[start : start + length],
                self._buffer[start + length :],
            )
            answer = self._answer(body)
            loop = asyncio.get_running_loop()
            loop.call_later(self.latency_seconds, self._send, HEAD % (len(answer), answer))

    def _send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)

    def _answer(self, body: bytes) -> bytes:
        request = json.loads(body or b"{}")
        schema = request.get("response_format", {}).get("json_schema", {}).get("schema")
        key = json.dumps(schema)
        if key not in self.bodies:
            plain = {"score": 8, "reason": "As asked."}
            text = json.dumps(plain if schema is None else example(schema, schema))
            self.bodies[key] = json.dumps({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1,
                "model": request.get("model", "model"),
                "choices": [{
                    "index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }],
                "usage": {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960},
            }).encode()  # fmt: skip
        return self.bodies[key]


async def main(port: int, latency_ms: float) -> None:
    Endpoint.latency_seconds = latency_ms / 1000
    server = await asyncio.get_running_loop().create_server(
        Endpoint, "127.0.0.1", port, backlog=1024
    )
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
