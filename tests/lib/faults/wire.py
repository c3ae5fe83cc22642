"""The part of Postgres's wire protocol that shows which statement is sent, and where a reply ends.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104
_HEADER = 5  # bytes: the type, and a length that includes itself
_UNTYPED_HEADER = 4  # bytes: a length alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One complete message. The first messages of a client have no kind."""

    kind: bytes
    data: bytes

    @property
    def body(self) -> bytes:
        return self.data[_HEADER if self.kind else _UNTYPED_HEADER :]


class Wire:
    """Parses both directions of one connection into frames."""

    def __init__(self) -> None:
        self._from_client = bytearray()
        self._from_server = bytearray()
        self._starting = True
        self._asked_for_encryption = False
        self._prepared: dict[bytes, str] = {}

    def from_client(self, chunk: bytes) -> Iterator[Frame]:
        self._from_client += chunk
        while (frame := self._next(self._from_client, typed=not self._starting)) is not None:
            if self._starting:
                (code,) = struct.unpack_from("!I", frame.body)
                self._asked_for_encryption = code in (_SSL_REQUEST, _GSS_REQUEST)
                self._starting = (
                    self._asked_for_encryption
                )  # after a refusal the client starts again
            yield frame

    def from_server(self, chunk: bytes) -> Iterator[Frame]:
        self._from_server += chunk
        if self._asked_for_encryption and self._from_server:
            self._asked_for_encryption = False
            yield Frame(kind=b"", data=bytes([self._from_server.pop(0)]))
        while (frame := self._next(self._from_server, typed=True)) is not None:
            yield frame

    def statement(self, frame: Frame) -> str | None:
        """The text of the statement that this message of a client executes."""
        match frame.kind:
            case b"P":
                name, text, *_ = frame.body.split(b"\0", 2)
                self._prepared[name] = text.decode("utf-8", "replace")
                return None
            case b"B":
                _portal, name, _ = frame.body.split(b"\0", 2)
                return self._prepared.get(name)
            case b"Q":
                return frame.body.rstrip(b"\0").decode("utf-8", "replace")
            case _:
                return None

    @staticmethod
    def _next(buffer: bytearray, *, typed: bool) -> Frame | None:
        header = _HEADER if typed else _UNTYPED_HEADER
        if len(buffer) < header:
            return None
        (length,) = struct.unpack_from("!I", buffer, header - 4)
        size = length + header - _UNTYPED_HEADER
        if len(buffer) < size:
            return None
        data = bytes(buffer[:size])
        del buffer[:size]
        return Frame(kind=data[:1] if typed else b"", data=data)
