"""What statements of a table file do to tables that are there: which lock they take, and whether
they read or rewrite the rows under it.

Read from the statement's text. It knows what table files are written in; a test compares it with
the locks that Postgres itself takes for each of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from typing import LiteralString

_STATEMENTS = re.compile(
    r"""(?:'(?:[^']|'')*' | "[^"]*" | \$(\w*)\$.*?\$\1\$ | --[^\n]* | [^;])+""",
    re.VERBOSE | re.DOTALL,
)
_COMMENTS = re.compile(r"--[^\n]*")
_TEXTS = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_NAME = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?\"?(\w+)\"?"
_REFERENCES = re.compile(rf"\bREFERENCES {_NAME}", re.IGNORECASE)
_VOLATILE = re.compile(
    r"\b(?:gen_random_uuid|clock_timestamp|random|nextval|serial|bigserial|stored|identity)\b",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"ALTER (?:COLUMN )?\"?\w+\"? SET (?:STATISTICS\b|\()|VALIDATE CONSTRAINT|SET \(", re.IGNORECASE
)
_READS = re.compile(
    r"\bSET NOT NULL|\bCHECK \(|\bVALIDATE CONSTRAINT|\bFOREIGN KEY|\bPRIMARY KEY|\bUNIQUE\b",
    re.IGNORECASE,
)


class Lock(IntEnum):
    """A lock on a table, the weaker first. The value is the order."""

    ROW_EXCLUSIVE = 1
    SHARE_UPDATE_EXCLUSIVE = 2
    SHARE = 3
    SHARE_ROW_EXCLUSIVE = 4
    ACCESS_EXCLUSIVE = 5

    @property
    def words(self) -> LiteralString:
        """As Postgres writes it."""
        return self.name.replace("_", " ")

    @property
    def keeps_out(self) -> str:
        """Who waits while it is held."""
        if self is Lock.ACCESS_EXCLUSIVE:
            return "reads and writes"
        return "writes" if self >= Lock.SHARE else "nothing"


class Work(IntEnum):
    """What is done under a lock, the quicker first."""

    NONE = 0
    READ = 1
    INDEX = 2
    REWRITE = 3

    @property
    def words(self) -> str:
        """For people."""
        return ("changes no rows", "reads all rows", "builds an index", "rewrites all rows")[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What happens to one table or index."""

    relation: str
    """An index is one that is dropped: its table is locked."""
    lock: Lock
    work: Work = Work.NONE


def effects_of(sql: str) -> list[Effect]:
    """The effects of a file, one per relation that it names: the strongest lock, the most work.

    Also of relations that the file makes: what is not there yet locks nothing.
    """
    strongest: dict[str, Effect] = {}
    for statement in _split(sql):
        for effect in _effects(statement):
            there = strongest.get(effect.relation, effect)
            strongest[effect.relation] = Effect(
                relation=effect.relation,
                lock=max(effect.lock, there.lock),
                work=max(effect.work, there.work),
            )
    return list(strongest.values())


def _split(sql: str) -> Iterator[str]:
    """The statements without comments and texts, with single spaces."""
    for found in _STATEMENTS.finditer(sql):
        without = _TEXTS.sub("''", _COMMENTS.sub(" ", found[0]))
        if statement := " ".join(without.split()):
            yield statement


def _effects(statement: str) -> Iterable[Effect]:
    for pattern, effects in _KINDS:
        if found := pattern.match(statement):
            return effects(found)
    return []


def _altered(found: re.Match[str]) -> Iterator[Effect]:
    for action in _actions(found[2]):
        yield _alteration(found[1], action)
        yield from _referenced(action)


def _alteration(table: str, action: str) -> Effect:
    if _WEAK.match(action):
        work = Work.READ if _READS.search(action) else Work.NONE
        return Effect(relation=table, lock=Lock.SHARE_UPDATE_EXCLUSIVE, work=work)
    adds = re.match(r"ADD (COLUMN\b)?", action, re.IGNORECASE)
    adds_column = bool(adds and adds[1])
    if re.search(r"\bTYPE\b", action, re.IGNORECASE) or (adds_column and _VOLATILE.search(action)):
        return Effect(relation=table, lock=Lock.ACCESS_EXCLUSIVE, work=Work.REWRITE)
    lock = Lock.ACCESS_EXCLUSIVE
    if not adds_column and re.search(r"\bFOREIGN KEY\b", action, re.IGNORECASE):
        lock = Lock.SHARE_ROW_EXCLUSIVE
    work = Work.NONE
    if re.search(r"\b(?:PRIMARY KEY|UNIQUE)\b", action, re.IGNORECASE):
        work = Work.INDEX
    elif _READS.search(action) and not re.search(r"\bNOT VALID\b", action, re.IGNORECASE):
        work = Work.READ
    return Effect(relation=table, lock=lock, work=work)


def _actions(text: str) -> list[str]:
    """The actions of ALTER TABLE: separated by commas outside of parentheses."""
    depths = reduce(
        lambda depths, c: [*depths, depths[-1] + (c == "(") - (c == ")")], text, [0]
    )  # fmt: skip
    ends = [i for i, c in enumerate(text) if c == "," and depths[i] == 0]
    begins = [0, *(end + 1 for end in ends)]
    return [text[begin:end].strip() for begin, end in zip(begins, [*ends, len(text)], strict=True)]


def _created(found: re.Match[str]) -> Iterator[Effect]:
    return _referenced(found[1])


def _referenced(text: str) -> Iterator[Effect]:
    """A foreign key makes triggers in the table it refers to."""
    for table in _REFERENCES.findall(text):
        yield Effect(relation=table, lock=Lock.SHARE_ROW_EXCLUSIVE)


def _one(lock: Lock, work: Work = Work.NONE) -> Callable[[re.Match[str]], Iterable[Effect]]:
    return lambda found: [Effect(relation=found[1], lock=lock, work=work)]


_KINDS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Iterable[Effect]]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), effects)
    for pattern, effects in (
        (rf"ALTER TABLE {_NAME} (.*)", _altered),
        (r"CREATE TABLE (.*)", _created),
        (
            rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY .*?\bON {_NAME}",
            _one(Lock.SHARE_UPDATE_EXCLUSIVE, Work.INDEX),
        ),
        (rf"CREATE (?:UNIQUE )?INDEX .*?\bON {_NAME}", _one(Lock.SHARE, Work.INDEX)),
        (rf"DROP (?:TABLE|INDEX|VIEW) {_NAME}", _one(Lock.ACCESS_EXCLUSIVE)),
        (rf"CREATE (?:OR REPLACE )?TRIGGER .*?\bON {_NAME}", _one(Lock.SHARE_ROW_EXCLUSIVE)),
        (rf"DROP TRIGGER (?:IF EXISTS )?\w+ ON {_NAME}", _one(Lock.ACCESS_EXCLUSIVE)),
        (rf"(?:UPDATE|DELETE FROM) {_NAME}", _one(Lock.ROW_EXCLUSIVE, Work.REWRITE)),
        (rf"INSERT INTO {_NAME}", _one(Lock.ROW_EXCLUSIVE)),
        (rf"COMMENT ON TABLE {_NAME}", _one(Lock.SHARE_UPDATE_EXCLUSIVE)),
        (rf"TRUNCATE (?:TABLE )?{_NAME}", _one(Lock.ACCESS_EXCLUSIVE)),
    )
)
