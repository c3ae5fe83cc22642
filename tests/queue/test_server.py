"""Which servers are accepted."""

from pathlib import Path

import pytest

from evalqueue.postgres.server import OLDEST, version_problem

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("server_version", "problem"),
    [
        (90624, "This is Postgres 9, and evalqueue needs 15 or newer"),
        (140_013, "This is Postgres 14, and evalqueue needs 15 or newer"),
        (150_000, None),
        (180_001, None),
    ],
)
def test_a_server_that_is_too_old_is_refused(server_version: int, problem: str | None) -> None:
    assert version_problem(server_version) == problem


def test_the_readme_says_which_is_the_oldest() -> None:
    assert f"Postgres {OLDEST} or newer" in README.read_text("utf-8")
