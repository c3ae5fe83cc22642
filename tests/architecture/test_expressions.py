"""Every regular expression of a module takes linear time: text comes from anywhere, and an
expression holds the GIL until it is done.
"""

import importlib
import json
import pkgutil
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import evalqueue

SOURCES = Path(evalqueue.__file__).parent
SCRIPT = Path(__file__).with_name("page_expressions.mjs")
EXPRESSIONS_OF_THE_PAGE = 10  # at least
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n", "\t", "é", "।", "\u200b"]
PATTERNS = [
    " |", "| ", "a.", "a ", "a@", "a-", "-|", " \n", "\n ", "1,", "1.", "1-", "1 ", "(1", "a:",
    "A.", "'|", "/*", "/*!", "*/", "--", '\\"', '"a', "[[a",
    "{}", "<a", "a=", "a b ", "- ", "1 - ", "``",
    "&a", "%a", "sat ", "total ", "error ", "\r\n",
]  # fmt: skip
LONG, LONGEST = 2_000, 8_000  # characters
NEGLIGIBLE = 0.003  # seconds
MAX_GROWTH = 8.0  # 4: linear; 16: quadratic

PATIENCE = 5.0  # seconds of computing, for one text

OPERATIONS = {"fullmatch", "match", "search"}  # everything else looks at the whole text


def expressions() -> Iterator[tuple[str, re.Pattern[str]]]:
    """The expressions of all modules by the names that hold them, also in collections."""
    seen: set[tuple[str, int]] = set()
    for module in pkgutil.walk_packages([str(SOURCES)], "evalqueue."):
        if ".sql" in module.name or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            for pattern in _patterns(value):
                if isinstance(pattern.pattern, str) and (
                    (key := (pattern.pattern, pattern.flags)) not in seen
                ):
                    seen.add(key)
                    yield f"{module.name}.{name}", pattern


def _patterns(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from _patterns(tuple(value.keys()))
        yield from _patterns(tuple(value.values()))
    elif isinstance(value, list | tuple | frozenset | set):
        for each in value:
            yield from _patterns(each)


TEXT = "\n".join(path.read_text() for path in SOURCES.rglob("*.py"))


def operations(name: str) -> Iterable[str]:
    """What is done with the expression of this name, anywhere."""
    called = set(re.findall(rf"\b{name.rsplit('.', 1)[1]}\.(\w+)\(", TEXT))
    return called or {"search", "finditer"}


def seconds(pattern: re.Pattern[str], operation: str, text: str) -> float:
    best = 60.0
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    for _ in range(3):
        began = time.thread_time()
        if operation in OPERATIONS:
            getattr(pattern, operation)(text)
        else:
            for _found in pattern.finditer(text):
                pass
        best = min(best, time.thread_time() - began)
        if best < NEGLIGIBLE / 4:
            break
    return best


@pytest.fixture
def limited() -> Iterator[None]:
    """Break off an expression that takes far too long: the engine looks for signals."""

    def on_alarm(*_: object) -> None:
        raise TimeoutError(f"not done after {PATIENCE:.0f} s")

    former = signal.signal(signal.SIGVTALRM, on_alarm)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, former)


def repetitions(pattern: re.Pattern[str]) -> Iterable[str]:
    """What is repeated: single characters, common beginnings, and the words of the expression."""
    words = dict.fromkeys(re.findall(r"(?<!\\)[A-Za-z]{2,}", pattern.pattern))
    return (*CHARACTERS, *PATTERNS, *(word + end for word in words for end in (" ", "a")))


def grows(pattern: re.Pattern[str], operation: str, repeated: str, end: str) -> bool:
    """Whether four times the text takes more than eight times as long."""
    long = (repeated * LONG)[:LONG] + end
    longest = (repeated * LONGEST)[:LONGEST] + end
    return all(  # three times: a busy machine is slow at times, a slow expression always is
        (took := seconds(pattern, operation, long)) >= NEGLIGIBLE
        and seconds(pattern, operation, longest) > MAX_GROWTH * took
        for _ in range(3)
    )


def cases() -> Iterator[object]:
    for name, pattern in expressions():
        yield pytest.param(
            name, pattern, id=name.removeprefix("evalqueue.").replace("evaluators.", "")
        )


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(("name", "pattern"), [*cases()])
def test_an_expression_takes_linear_time(name: str, pattern: re.Pattern[str]):
    slow = [
        f"{operation} of {repeated!r} + {end!r}"
        for operation in operations(name)
        for repeated in repetitions(pattern)
        for end in ("", "\0")
        if grows(pattern, operation, repeated, end)
    ]
    assert not slow, f"{pattern.pattern}: {'; '.join(slow[:5])}"


def test_the_expressions_of_the_page_take_linear_time():
    done = subprocess.run(
        ["node", SCRIPT, SOURCES / "http" / "page", json.dumps([*CHARACTERS, *PATTERNS])],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    assert int(done.stderr) >= EXPRESSIONS_OF_THE_PAGE
    assert not done.stdout, done.stdout
