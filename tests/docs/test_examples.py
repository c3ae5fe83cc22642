"""The documents' examples, executed as they stand.

A comment in front of a fenced block says what it is:

    <!-- run -->         python, sh or sql: run it; it must succeed
    <!-- file: NAME -->  write it to NAME, beside which the page's other blocks run
    <!-- prints -->      what the block before it wrote to stdout; … stands for anything

The blocks of a page run in their order, in one directory of their own, on one database.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATIENCE = 300.0  # seconds; the machine may be busy
RUN_SQL = """
import os, sys, psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    cursor = connection.execute(sys.argv[1])
    while cursor.nextset():
        pass
    for row in cursor if cursor.description else ():
        print(*row, sep="\\t")
"""
MARKED = re.compile(
    r"^<!-- (?P<mark>run|prints|file: (?P<name>[\w./-]+)) -->\n"
    r"```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A marked block of a page."""

    mark: str
    name: str
    language: str
    text: str

    def command(self) -> list[str]:
        match self.language:
            case "python":
                return [sys.executable, "-c", self.text]
            case "sh":
                return ["sh", "-euc", self.text]
            case "sql":
                return [sys.executable, "-c", RUN_SQL, self.text]
            case other:
                raise ValueError(f"a block to run is python, sh or sql, not {other}")


def blocks_of(page: str) -> list[Block]:
    return [
        Block(
            mark=found["mark"].partition(":")[0],
            name=found["name"] or "",
            language=found["language"],
            text=found["text"],
        )
        for found in MARKED.finditer(page)
    ]


def run_page(page: str, directory: Path, environment: Mapping[str, str]) -> None:
    printed = ""
    for block in blocks_of(page):
        match block.mark:
            case "file":
                path = directory / block.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            case "prints":
                assert matches(block.text, printed), f"printed was:\n{printed}"
            case _:
                done = subprocess.run(
                    block.command(),
                    cwd=directory,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                    check=False,
                )
                assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
                printed = done.stdout


def matches(expected: str, printed: str) -> bool:
    pattern = ".*".join(map(re.escape, expected.strip().split("…")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def environment_for(dsn: str, directory: Path) -> dict[str, str]:
    """A shell's, with no key of any vendor in it: no example talks to one."""
    kept = ("PATH", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DATABASE_URL": dsn,
        "EVALQUEUE_HOME": str(directory / "home"),
        "HOME": str(directory),
        "PYTHONPATH": str(directory),
    }


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks_of(page.read_text("utf-8"))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_the_examples_of_a_page_run(page: Path, dsn: str, tmp_path: Path) -> None:
    run_page(page.read_text("utf-8"), tmp_path, environment_for(dsn, tmp_path))


@pytest.mark.parametrize(
    "page",
    [
        "<!-- run -->\n```python\nraise SystemExit(1)\n```\n",
        "<!-- run -->\n```sh\nfalse\ntrue\n```\n",
        "<!-- run -->\n```sh\necho two\n```\n<!-- prints -->\n```text\none\n```\n",
    ],
)
def test_an_example_that_is_wrong_is_noticed(page: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run_page(page, tmp_path, dict(os.environ))


def test_every_mark_has_its_block() -> None:
    """A mark with a typing error in it, or a blank line after it, would silently run nothing."""
    for page in PAGES:
        text = page.read_text("utf-8")
        marks = len(re.findall(r"^<!--", text, re.MULTILINE))
        assert marks == len(blocks_of(text)), page
