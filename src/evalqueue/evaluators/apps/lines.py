"""In which line of an app's text a mistake is."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import yaml

from evalqueue.errors import Problem
from evalqueue.evaluators.apps.documents import Notation

_LINE = re.compile(r"line ([0-9]{1,9})")
_QUOTES = ('"""', "'''")
Path = tuple[str | int, ...]


def with_lines(problems: Sequence[Problem], text: str, notation: Notation) -> list[Problem]:
    """The problems of a text, each with its line (`ctx.line`, from 1) where that is known."""
    if notation is Notation.TOML:
        lines = dict(_toml_lines(text))
    else:
        try:
            lines = dict(_node_lines(yaml.compose(text, Loader=yaml.SafeLoader), ()))
        except (yaml.YAMLError, RecursionError):
            lines = {}
    return [_with_line(each, lines) for each in problems]


def _with_line(problem: Problem, lines: dict[Path, int]) -> Problem:
    path: Path = tuple(problem.loc)
    if not path:
        found = _LINE.findall(problem.msg)
        return replace(problem, ctx={"line": int(found[-1])}) if found else problem
    while path:
        if path in lines:
            return replace(problem, ctx={"line": lines[path]})
        path = path[:-1]
    return problem


def _toml_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Where each table and each key of a TOML document begins."""
    table: Path = ()
    counts = Counter[Path]()
    closing: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if closing is not None:
            if closing in line:
                closing = None
            continue
        content = line.strip()
        if content.startswith("[["):
            names = _names(content[2:].partition("]]")[0])
            table = _inside(names[:-1], counts) + names[-1:]
            counts[table] += 1
            table = (*table, counts[table] - 1)
            yield table, number
        elif content.startswith("[") and "=" not in content:
            table = _inside(_names(content[1:].partition("]")[0]), counts)
            yield table, number
        elif not content.startswith("#") and "=" in content:
            key, _, value = content.partition("=")
            yield (*table, *_names(key)), number
            for quote in _QUOTES:
                if value.count(quote) == 1:
                    closing = quote


def _inside(names: Path, counts: Counter[Path]) -> Path:
    """The path of a table, with the number of the last element of each list in it."""
    path: Path = ()
    for name in names:
        path = (*path, name)
        if counts[path]:
            path = (*path, counts[path] - 1)
    return path


def _names(key: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in key.split("."))


def _node_lines(node: yaml.Node | None, path: Path) -> Iterator[tuple[Path, int]]:
    """Where each part of a YAML or JSON document begins."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _node_lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for number, each in enumerate(node.value):
            yield (*path, number), each.start_mark.line + 1
            yield from _node_lines(each, (*path, number))
