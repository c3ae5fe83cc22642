"""Functions, views and triggers, as the files of `sql/functions` define them.

Each is defined once, and re-applied when its text differs from what the database has recorded. They
are created in the order of the files (`queue` before `evaluation`) and of the text.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

LAYERS = ("queue", "evaluation")
"""The folders of `sql/tables`, `sql/functions` and `sql/queries`, lower layer first."""

_CREATE = re.compile(r"^CREATE (?:OR REPLACE )?(FUNCTION|VIEW|TRIGGER) (\w+)", re.MULTILINE)
_NAME = re.compile(r"(?:FUNCTION|VIEW) \w+|TRIGGER \w+ ON \w+")
_TABLE = re.compile(r"\bON (\w+)")
_CALLED = re.compile(r"\bEXECUTE FUNCTION (\w+)")
_USED = re.compile(r"\b(evalqueue_\w+)\(")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One function, view or trigger."""

    name: str
    """As DROP names it: `FUNCTION f`, `VIEW v`, `TRIGGER t ON jobs`."""
    sql: str
    """The statement that creates it."""
    signature: str
    """What can't be replaced in place: of a function everything before its body, of a trigger the
    function it calls, of a view the functions it uses."""
    file: str

    @property
    def digest(self) -> str:
        """SHA-256 of the statement, hexadecimal."""
        return sha256(self.sql.encode()).hexdigest()

    def is_made_anew(self, there: str) -> bool:
        """Whether it can't be replaced in place, where this signature is there.

        A view that is written with OR REPLACE keeps its columns: views and rights of others that
        depend on it stay.
        """
        if self.name.startswith("VIEW"):
            return not self.sql.startswith("CREATE OR REPLACE")
        return self.name.startswith("TRIGGER") or self.signature != there


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the database has recorded of a definition."""

    digest: str
    signature: str
    earlier: Sequence[str]
    """Digests of earlier bodies with the same signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What has to be done to bring a database to these definitions."""

    drop: Sequence[str]
    create: Sequence[Definition]

    @property
    def files(self) -> list[str]:
        """The files that have something to create, in order."""
        return list(dict.fromkeys(each.file for each in self.create))


@cache
def read_definitions() -> Mapping[str, Definition]:
    """All definitions, by name, in the order in which they are created."""
    found: dict[str, Definition] = {}
    for layer in LAYERS:
        folder = files("evalqueue.sql") / "functions" / layer
        for item in sorted(folder.iterdir(), key=lambda item: item.name):
            for each in parsed(f"functions/{layer}/{item.name}", item.read_text("utf-8")):
                if each.name in found:
                    raise ValueError(f"{each.name} is defined in {found[each.name].file}, too")
                found[each.name] = each
    return found


def parsed(file: str, text: str) -> list[Definition]:
    """The definitions of one file: each begins with CREATE at the start of a line."""
    begins = list(_CREATE.finditer(text))
    ends = [*(each.start() for each in begins[1:]), len(text)]
    return [
        _definition(file, begin[1], begin[2], _without_comments(text[begin.start() : end]))
        for begin, end in zip(begins, ends, strict=True)
    ]


def differing(
    wanted: Mapping[str, Definition], recorded: Mapping[str, Recorded]
) -> list[Definition]:
    """Definitions that the database lacks, or has in a version that this build can't work with.

    An earlier body of the same signature is no difference: the database is newer than this build.
    """
    return [
        each
        for name, each in wanted.items()
        if (there := recorded.get(name)) is None
        or (each.digest != there.digest and each.digest not in there.earlier)
    ]


def planned(
    wanted: Mapping[str, Definition],
    recorded: Mapping[str, Recorded],
    existing: Collection[str],
) -> Change:
    """What to drop and what to create.

    What did not change is not touched: to drop or create a trigger locks its table.
    """
    removed = [name for name in recorded if name not in wanted]
    changed = {
        name
        for name, each in wanted.items()
        if name not in recorded or recorded[name].digest != each.digest or name not in existing
    }
    replaced = {
        name
        for name in changed & recorded.keys()
        if wanted[name].is_made_anew(recorded[name].signature)
    }
    gone = replaced | set(removed)
    # Triggers and views go with the functions that they use.
    called = {name.removeprefix("FUNCTION ") for name in gone if name.startswith("FUNCTION")}
    for name, there in recorded.items():
        if name.startswith("TRIGGER") and there.signature in called:
            gone.add(name)
        if name.startswith("VIEW") and called.intersection(there.signature.split()):
            gone.add(name)
    order = {"TRIGGER": 0, "VIEW": 1, "FUNCTION": 2}
    return Change(
        drop=sorted(gone & set(existing), key=lambda name: order[name.split()[0]]),
        create=[each for name, each in wanted.items() if name in changed | gone],
    )


def is_definition(name: str) -> bool:
    """Whether a name of the ledger is that of a definition."""
    return _NAME.fullmatch(name) is not None


def _definition(file: str, kind: str, name: str, sql: str) -> Definition:
    match kind:
        case "FUNCTION":
            signature = sql.split(" AS $$", 1)[0]
            return Definition(name=f"FUNCTION {name}", sql=sql, signature=signature, file=file)
        case "TRIGGER":
            (table, called) = (pattern.findall(sql)[0] for pattern in (_TABLE, _CALLED))
            return Definition(
                name=f"TRIGGER {name} ON {table}", sql=sql, signature=called, file=file
            )
        case _:
            used = " ".join(sorted(set(_USED.findall(sql))))
            return Definition(name=f"VIEW {name}", sql=sql, signature=used, file=file)


def _without_comments(text: str) -> str:
    """Without the comment of the next definition, which follows the last line of this one."""
    lines = text.splitlines()
    while lines and (not lines[-1].strip() or lines[-1].startswith("--")):
        lines.pop()
    return "\n".join(lines) + "\n"
