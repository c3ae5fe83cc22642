"""The SQL files: which layer they belong to, and that each thing is defined once."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from evalqueue.postgres.definitions import read_definitions

ROOT = Path(__file__).parents[2]
SQL = ROOT / "src" / "evalqueue" / "sql"
QUEUE = sorted(SQL.glob("*/queue/*.sql"))
EVALUATION = sorted(SQL.glob("*/evaluation/*.sql"))
FUNCTIONS = sorted(SQL.glob("functions/*/*.sql"))
DEFINED = re.compile(
    r"^CREATE (?:OR REPLACE )?(?:UNIQUE )?(TABLE|INDEX|FUNCTION|VIEW|TRIGGER) (\w+)", re.MULTILINE
)
# Words of SQL, or of the queue itself, that are columns of the evaluation layer as well.
SHARED_WORDS = {"epoch", "format", "position"}


def code(path: Path) -> str:
    """A file without its comments."""
    return re.sub(r"--.*", "", path.read_text("utf-8"))


def names_in(paths: list[Path], kind: str) -> list[str]:
    return [name for path in paths for found, name in DEFINED.findall(code(path)) if found == kind]


def test_every_sql_file_belongs_to_one_layer():
    layered = {*QUEUE, *EVALUATION, SQL / "schema.sql"}
    assert set(SQL.rglob("*.sql")) == layered
    assert {path.parent.parent.name for path in layered - {SQL / "schema.sql"}} == {
        "tables", "functions", "queries",
    }  # fmt: skip


def test_the_queue_s_sql_names_no_table_column_or_function_of_the_evaluation_layer(dsn: str):
    theirs = set(names_in(EVALUATION, "TABLE"))
    ours = set(names_in(QUEUE, "TABLE"))
    assert {"eval_runs", "datasets"} <= theirs
    assert {"jobs", "job_workers"} <= ours
    with psycopg.connect(dsn) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name IN (SELECT tablename FROM pg_tables)"
        ).fetchall()
    known = {column for table, column in columns if table not in theirs}
    foreign = theirs | {column for table, column in columns if table in theirs} - known
    for kind in ("FUNCTION", "INDEX", "VIEW"):
        foreign |= set(names_in(EVALUATION, kind))
    foreign |= {"csv_content", "run_id", "run_status", "eval", "evaluate"}
    assert {"dataset_id", "worst_correctness", "evalqueue_open_run"} <= foreign

    foreign -= SHARED_WORDS
    used = {path.name: foreign & set(re.findall(r"[a-z_]+", code(path).lower())) for path in QUEUE}
    assert {name: words for name, words in used.items() if words} == {}


def outermost(statement: str) -> str:
    """A statement without what is in parentheses."""
    found, depth = "", 0
    for c in re.sub(r"--.*|'[^']*'", "", statement):
        depth -= c == ")"
        found += c if depth == 0 else ""
        depth += c == "("
    return found


def test_every_statement_names_the_columns_that_it_returns():
    """A column that a migration adds must not reach processes that do not know it."""
    statements = [
        f"{path.stem}: {statement}"
        for path in sorted(SQL.glob("queries/*/*.sql"))
        for statement in path.read_text("utf-8").split("\n\n")
    ]
    assert len(statements) > 150
    every = re.compile(r"(?:\bSELECT|\bRETURNING|,)\s+(?:\w+\.)?\*")
    assert [each for each in statements if every.search(outermost(each))] == []


def test_everything_is_defined_once():
    for kind in ("TABLE", "INDEX", "FUNCTION", "VIEW", "TRIGGER"):
        counted = Counter(names_in([*QUEUE, *EVALUATION], kind))
        assert [name for name, times in counted.items() if times > 1] == []


def test_function_files_hold_nothing_but_definitions():
    found = list(read_definitions().values())
    for path in FUNCTIONS:
        file = path.relative_to(SQL).as_posix()
        text = path.read_text("utf-8")
        for each in found:
            if each.file == file:
                assert each.sql in text
                text = text.replace(each.sql, "")
        rest = [line for line in text.splitlines() if line.strip() and not line.startswith("--")]
        assert rest == [], file
        assert "CREATE FUNCTION" not in path.read_text("utf-8"), "OR REPLACE, so that it can be"


def test_no_file_is_longer_than_one_can_read():
    long = {path.name: len(path.read_text("utf-8").splitlines()) for path in [*QUEUE, *EVALUATION]}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


@pytest.mark.parametrize("path", [*QUEUE, *EVALUATION], ids=lambda path: path.stem)
def test_comments_are_in_plain_words(path: Path):
    unwanted = r"\b(whoever|nobody|somebody|everybody|hands?|reap\w*|sweep\w*|tall(y|ies)|lanes?)\b"
    assert re.findall(unwanted, path.read_text("utf-8"), re.IGNORECASE) == []


def test_the_committed_schema_is_that_of_a_fresh_database(dsn: str):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "schema_dump.py", dsn],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == (SQL / "schema.sql").read_text("utf-8"), "./run generate"
