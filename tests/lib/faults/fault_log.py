"""The faults of a soak test, in memory and as lines of JSON."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """The kind of a fault."""

    KILL = "SIGKILL"
    POISON = "killed by its job"
    FREEZE = "SIGSTOP"
    TERMINATE = "SIGTERM"
    TERMINATE_TWICE = "SIGTERM twice"
    STOP_FAST = "Postgres stopped"
    STOP_IMMEDIATE = "Postgres crashed"
    SESSIONS = "sessions ended"
    LISTEN = "LISTEN ended"
    CUT = "network cut"
    SILENCE = "network silent"
    DELAY = "network slow"
    READ_ONLY = "read-only"
    CROWD = "too many connections"
    SQLSTATE = "statements refused"


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault, from its beginning to its end."""

    kind: Kind
    worker: str | None
    """The name of the affected worker; None: all workers."""
    began: datetime
    ended: datetime | None = None
    about: str = ""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class FaultLog:
    """All faults so far. Each is also appended to a file at once, which survives a crash."""

    path: Path
    faults: list[Fault] = field(default_factory=list)

    def begin(self, kind: Kind, worker: str | None = None, about: str = "") -> Fault:
        fault = Fault(kind=kind, worker=worker, began=now(), about=about)
        self.faults.append(fault)
        self._write("begins", fault)
        return fault

    def end(self, fault: Fault) -> None:
        fault.ended = now()
        self._write("ends", fault)

    def _write(self, what: str, fault: Fault) -> None:
        line = {"what": what, **asdict(fault)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
