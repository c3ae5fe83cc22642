"""Apps as text: TOML, YAML and JSON are read and written. And an app's digest.

A text comes from outside: its size is bounded, YAML has no anchors (a few lines of them stand for
gigabytes) and no types of its own, and a key that is there twice is refused, as one of the two
would be ignored without a word.
"""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any, NoReturn, cast

import tomli_w
import yaml

from evalqueue import codec
from evalqueue.errors import Problem
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, InvalidApp

MAX_BYTES = 256 * 1024
"""Of a document, as text and as it is stored."""
_DEPTH_MAX = 20  # levels of nesting; an app has six


class Notation(StrEnum):
    """How a document is written."""

    TOML = "toml"
    YAML = "yaml"
    JSON = "json"


def notation_of(name: str) -> Notation | None:
    """The notation of a file by its name. None: the name does not tell."""
    suffix = name.lower().rpartition(".")[2]
    return {"toml": Notation.TOML, "yaml": Notation.YAML, "yml": Notation.YAML}.get(
        suffix, Notation.JSON if suffix == "json" else None
    )


def read(text: str, notation: Notation, *, where: str) -> App:
    """An app from a document.

    Raises:
        InvalidApp: with every mistake.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _too_large(where)
    if notation is Notation.TOML:
        return _checked(apps.parse(text, where=where), where)
    loads: Callable[[str], object] = _yaml if notation is Notation.YAML else _json
    try:
        document = loads(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        msg = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        problem = Problem(loc=(), msg=codec.clean_text(msg, limit=1_000))
        raise InvalidApp(where, [problem], what=notation.upper()) from error
    return from_document(document, where=where)


def from_document(document: object, *, where: str) -> App:
    """An app from a document that was parsed elsewhere.

    Raises:
        InvalidApp: with every mistake.
    """
    if _is_deeper(document, _DEPTH_MAX):
        problem = Problem(loc=(), msg=f"nested deeper than {_DEPTH_MAX} levels")
        raise InvalidApp(where, [problem])
    return _checked(apps.from_document(document, where=where), where)


def to_toml(app: App) -> str:
    """An app as TOML, without what is the default."""
    return tomli_w.dumps(apps.to_document(app, with_defaults=False), multiline_strings=True)


def to_yaml(app: App) -> str:
    """An app as YAML, without what is the default."""
    document = apps.to_document(app, with_defaults=False)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def to_json(app: App) -> str:
    """An app as JSON, without what is the default."""
    document = apps.to_document(app, with_defaults=False)
    return json.dumps(document, indent=2, ensure_ascii=False)


def canonical(app: App) -> str:
    """The one text of an app's content: everything that can change a verdict, defaults included."""
    return json.dumps(
        apps.to_document(app), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


def digest(app: App) -> str:
    """`sha256:` and the hash of the content: the same content has the same digest."""
    return f"sha256:{sha256(canonical(app).encode()).hexdigest()}"


def _checked(app: App, where: str) -> App:
    """An app that can be stored."""
    document = apps.to_document(app)
    if codec.clean_json(document) != document:
        msg = "it has a NUL character or half of a surrogate pair, which can't be stored: remove it"
        raise InvalidApp(where, [Problem(loc=(), msg=msg)])
    if len(canonical(app).encode()) > MAX_BYTES:
        raise _too_large(where)
    return app


def _too_large(where: str) -> InvalidApp:
    msg = f"it is larger than {MAX_BYTES // 1024} KiB: shorten its texts"
    return InvalidApp(where, [Problem(loc=(), msg=msg)])


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list | tuple):
        return False
    if levels == 0:
        return True
    inner: Any = value.values() if isinstance(value, dict) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]  any JSON
    return any(_is_deeper(each, levels - 1) for each in inner)


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=codec.once, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


class _Loader(yaml.SafeLoader):
    """Reads plain YAML only."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = cast("yaml.Event", self.peek_event())
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(
                f"line {self.line + 1}: anchors and aliases (& and *) are not allowed: "
                "write the text out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            raise ValueError(f"line {node.start_mark.line + 1}: a key is there twice")
        return found


class _Dumper(yaml.SafeDumper):
    """Writes plain YAML, with long texts line by line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def _yaml(text: str) -> object:
    loaded: object = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    return loaded


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """The lines by which two documents differ, with the path of each."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    removed = [f"- {path}: {before[path]}" for path in before if path not in after]
    added = [f"+ {path}: {after[path]}" for path in after if path not in before]
    changed = [
        line
        for path in before
        if path in after and before[path] != after[path]
        for line in (f"- {path}: {before[path]}", f"+ {path}: {after[path]}")
    ]
    return [*removed, *changed, *added]


_NAMES = ("name", "rule_id", "goal_id")
"""The keys by which the parts of a list are compared, not by where they stand."""


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    parts = dict(_parts(value, path))
    if not parts:
        yield path, json.dumps(value, ensure_ascii=False)
    for inner, each in parts.items():
        yield from _leaves(each, inner)


def _parts(value: Any, path: str) -> Iterator[tuple[str, object]]:
    """The parts of an object, and of a list of objects, with their paths."""
    match value:
        case dict():
            for key, each in value.items():  # pyright: ignore[reportUnknownVariableType]  any JSON
                yield (f"{path}.{key}" if path else str(key)), each  # pyright: ignore[reportUnknownArgumentType]
        case list() if all(isinstance(each, dict) for each in value):  # pyright: ignore[reportUnknownVariableType]
            for number, each in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                yield f"{path}[{_name(each, number)}]", each  # pyright: ignore[reportUnknownArgumentType]
        case _:
            pass


def _name(part: Mapping[str, Any], number: int) -> str:
    return next((str(part[key]) for key in _NAMES if key in part), str(number))
