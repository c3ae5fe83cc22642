"""Every regular expression of a module takes linear time: text comes from anywhere, and an
expression holds the GIL until it is done.
"""

import importlib
import pkgutil
import re
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import evalqueue

SOURCES = Path(evalqueue.__file__).parent
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n", "\t", "é", "।", "\u200b"]
PATTERNS = [
    " |", "| ", "a.", "a ", "a@", "a-", "-|", " \n", "\n ", "1,", "1.", "1-", "1 ", "(1", "a:",
    "A.", "'|", "/*", "/*!", "*/", "--", '\\"', '"a', "[[a",
    "{}", "<a", "a=", "a b ", "- ", "1 - ", "``",
    "&a", "%a", "sat ", "total ", "error ", "\r\n",
]  # fmt: skip
SHORT, LONG = 500, 2_000  # characters
NEGLIGIBLE = 0.003  # seconds
MAX_GROWTH = 8.0  # 4: linear; 16: quadratic

PATIENCE = 5.0  # seconds
KNOWN = dict.fromkeys(
    [
        "adversarial.cases.payloads._KINDS", "formats.values.moments._DATES",
        "judging.reading._TOKEN", "pace.limits._ENTRY", "personal_data._PHONE",
        "providers.chat_completions.faults._CLASS_NAME", "providers.dialect._CEILING",
        "providers.dialect._FORMS", "simulated.language._DISCLOSURE_CUES",
    ],
    "grows faster than its text, and has to be replaced or given a bounded text",
)  # fmt: skip
"""Names that hold such an expression; others in the same collection are linear."""

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
    for _ in range(3):
        began = time.perf_counter()
        if operation in OPERATIONS:
            getattr(pattern, operation)(text)
        else:
            for _found in pattern.finditer(text):
                pass
        best = min(best, time.perf_counter() - began)
        if best < NEGLIGIBLE / 4:
            break
    return best


@pytest.fixture
def limited() -> Iterator[None]:
    """Break off an expression that takes far too long: the engine looks for signals."""

    def on_alarm(*_: object) -> None:
        raise TimeoutError(f"not done after {PATIENCE:.0f} s")

    former = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


def cases() -> Iterator[object]:
    for name, pattern in expressions():
        short = name.removeprefix("evalqueue.evaluators.")
        marks = [pytest.mark.xfail(reason=KNOWN[short], strict=False)] if short in KNOWN else []
        yield pytest.param(name, pattern, id=short, marks=marks)


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(("name", "pattern"), [*cases()])
def test_an_expression_takes_linear_time(name: str, pattern: re.Pattern[str]):
    slow: list[str] = []
    for operation in operations(name):
        for repeated in (*CHARACTERS, *PATTERNS):
            for end in ("", "\0"):
                short, long = ((repeated * n)[:n] + end for n in (SHORT, LONG))
                if (took := seconds(pattern, operation, long)) < NEGLIGIBLE:
                    continue
                if took > MAX_GROWTH * seconds(pattern, operation, short):
                    slow.append(f"{operation} of {repeated!r} + {end!r}: {took:.3f} s")
    assert not slow, f"{pattern.pattern}: {'; '.join(slow[:5])}"
