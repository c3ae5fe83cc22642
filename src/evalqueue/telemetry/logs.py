"""Log records of processes that are ours, as text or as JSON. A library never calls `write`.

Secrets of the environment are blacked out, and rows that Postgres quotes, whatever wrote
them. A text record begins a line, and nothing inside of it does.
"""

import codecs
import json
import logging
import os
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, Self, cast
from urllib.parse import unquote

from pythonjsonlogger.json import JsonFormatter

from evalqueue.telemetry import spans

codecs.lookup("unicode_escape")  # imports its module, which can't be opened once files run out

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(
    r"((^|[-_.])(APIKEY|KEY|TOKEN|SECRET|CREDENTIAL|BEARER)S?|PASSWORD|PASSWD|AUTHORIZATION)"
    r"([-_]?\d+)?$"
)
_HEADERS_NAME = re.compile(r"(^|_)HEADERS$")
"""`name=value,name=value`, as OpenTelemetry's exporters have it."""
_PASSWORD = re.compile(r"://[^\s:/@]*:([^\s@]+)@|\bpassword=([^\s&]+)")
_ROW = re.compile(r"(DETAIL|CONTEXT): .*", re.DOTALL)
"""Where an error of Postgres quotes rows, to the end of the record: a row may have lines."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What begins a new line, moves the cursor or turns the direction of a text; not the tabulator."""
_SECRET_MIN = 8  # characters; a shorter one may be a part of any word

Fields = Mapping[str, str | int | None]

_hidden: list[str] = []
"""The secrets that no log record may have, longest first."""
_bound: ContextVar[Fields | None] = ContextVar("evalqueue_log_fields", default=None)


class LogFormat(StrEnum):
    """How log records are written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least level of log records that are written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@contextmanager
def bound(fields: Fields) -> Generator[None]:
    """JSON log records of this block have these fields. None: not known, and left out."""
    token = _bound.set({**(_bound.get() or {}), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def write(log_format: LogFormat, level: LogLevel) -> None:
    """Write this process's log records to stderr.

    Args:
        log_format: one line of JSON for each, or text.
        level: the least level. `DEBUG` is of evalqueue's own loggers only: SDKs then write prompts.
    """
    logging.basicConfig(stream=sys.stderr)
    reformat(log_format)
    set_level(level)


def reformat(log_format: LogFormat) -> None:
    """Write the records of the root logger's handlers in a format."""
    hide(os.environ)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_JsonLines() if log_format is LogFormat.JSON else _TextLines(TEXT))
    logging.captureWarnings(True)


class LoggedError(Exception):
    """Stands in a log record for an error whose text is a job's own: it may quote a conversation.

    Its text is the class of that error, and its traceback that error's.
    """

    @classmethod
    def of(cls, error: BaseException, causes: int = 5) -> Self:
        """The stand-in of an error, and of so many of its causes."""
        kind = type(error)
        found = cls(f"{kind.__module__}.{kind.__qualname__}").with_traceback(error.__traceback__)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None and causes:
            found.__cause__ = cls.of(cause, causes - 1)
        return found


def is_json() -> bool:
    """Whether this process writes its log records as JSON."""
    return any(isinstance(each.formatter, _JsonLines) for each in logging.getLogger().handlers)


def set_level(level: LogLevel) -> None:
    """Set the least level of the records that are written."""
    number = logging.getLevelNamesMapping()[level]
    logging.getLogger().setLevel(max(number, logging.INFO))
    logging.getLogger("evalqueue").setLevel(number)


def silence_libraries() -> None:
    """Leave out what libraries log at each call or start."""
    for name in ("httpx", "httpx2", "procrastinate", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)


def silence_pool() -> None:
    """Leave out the pool's warnings of each try, a hundred a minute. `Database` logs some."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def hide(environment: Mapping[str, str]) -> None:
    """Black out the secrets of these variables in what is written from now on."""
    _hidden[:] = sorted({*_hidden, *secrets_of(environment)}, key=len, reverse=True)


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets of an environment, longest first: values by the names of their variables, also
    inside JSON, values of headers, and passwords in addresses."""
    found: set[str] = set()
    for name, value in environment.items():
        found.update(_secrets_of(name, value))
        if value.lstrip().startswith(("{", "[")):
            with suppress(ValueError, RecursionError):
                found.update(_secrets_of(name, json.loads(value)))
    found |= {unquote(each) for each in found}
    found |= {spelled for each in found for spelled in _spellings(each)}
    return tuple(
        sorted((each for each in found if len(each) >= _SECRET_MIN), key=len, reverse=True)
    )


def _secrets_of(name: str, value: object) -> Iterator[str]:
    """The secrets of a variable, or of a part of its JSON."""
    if isinstance(value, Mapping):
        for key, each in cast("Mapping[str, object]", value).items():
            yield from _secrets_of(key, each)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _secrets_of(name, each)
    elif isinstance(value, str):
        if _SECRET_NAME.search(name.upper()):
            yield value.strip()  # as settings read it
        if _HEADERS_NAME.search(name.upper()):
            yield from (pair.partition("=")[2].strip() for pair in value.split(","))
        yield from (each for pair in _PASSWORD.findall(value) for each in pair if each)


def _spellings(secret: str) -> Iterator[str]:
    """A secret as records may quote it."""
    yield repr(secret)[1:-1]
    yield repr(secret.encode(errors="replace"))[2:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]


class _TextLines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  its name there
        return escaped(without_secrets(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  its name there
        return _indented(without_secrets(super().formatException(ei)))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  its name there
        return _indented(without_secrets(super().formatStack(stack_info)))


class _JsonLines(JsonFormatter):
    """One line for each record: its exception, and what is bound, are fields of it."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            rename_fields_keep_missing=False,
            timestamp=True,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        found = spans.current_ids()
        traced = {} if found is None else {"trace_id": found[0], "span_id": found[1]}
        known = {k: v for k, v in (_bound.get() or {}).items() if v is not None}
        return {
            name: _masked(value)
            for name, value in (log_data | known | traced).items()
            if name != "color_message"  # uvicorn's own
        }


def _masked(value: object) -> object:
    """A value of a record, without secrets in any part of it."""
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            fields = cast("Mapping[object, object]", value)
            return {without_secrets(str(key)): _masked(each) for key, each in fields.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(each) for each in cast("Iterable[object]", value)]
        case _:
            text = str(value)
            masked = without_secrets(text)
            return value if masked == text and not isinstance(value, str) else masked


def without_secrets(text: str) -> str:
    """The text without the secrets that this process knows, and without rows."""
    for each in _hidden:
        if each in text:
            text = text.replace(each, HIDDEN)
    return _ROW.sub(rf"\1: {HIDDEN}", text) if "DETAIL: " in text or "CONTEXT: " in text else text


def escaped(text: str) -> str:
    """The text on one line: values come from callers, files and other programs."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _indented(text: str) -> str:
    """A traceback whose lines can't be mistaken for records."""
    return "\n".join(f"  {escaped(line)}" for line in text.split("\n"))
