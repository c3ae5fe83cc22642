"""The adversarial demo as a process, and the table of its results."""

import re
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from homes import temporary_home
from tests.cli.conftest import Shell

from evalqueue.cli.demo.adversarial import WEAK, interval, scenario, weaknesses
from evalqueue.evaluators.simulated.chatbot.bot import RULE_OF, Weakness


@pytest.fixture
def home() -> Generator[Path]:
    """A home directory that the user of an embedded Postgres may enter."""
    home = temporary_home("evalqueue-cli-")
    yield home
    shutil.rmtree(home, ignore_errors=True)


async def test_the_demo_finds_what_is_wrong_with_its_bot_and_nothing_else(
    shell: Shell, home: Path
) -> None:
    ended = await shell.run("demo", "adversarial", EVALQUEUE_HOME=str(home), EVALQUEUE_PORT="0")

    assert ended.exit_code == 0, ended.err
    assert "36/36 100%" in ended.err
    assert "36 of 36 conversations held" in ended.out
    assert "Chatbot: simulated" in ended.out
    assert "Users and judge: simulated" in ended.out
    assert re.findall(r"on +(\w+) .*found in [1-9]", ended.out) == list(WEAK)
    assert f"off  {len(Weakness) - len(WEAK)} more: none reported" in ended.out
    assert "Turn 1\n" in ended.out
    assert not (home / "demo/pgdata/postmaster.pid").exists()
    logs = {path.stem for path in (home / "demo/logs").iterdir()}
    assert logs >= {"api", "worker"}


async def test_a_demo_of_something_else_is_refused_with_what_there_is(shell: Shell) -> None:
    refused = await shell.run("demo", "everything")

    assert refused.exit_code == 2
    assert "'batch'" in refused.err
    assert "'adversarial'" in refused.err


def test_every_demo_has_tokens_of_its_own_and_shows_none() -> None:
    one, other = scenario(), scenario()

    assert one.environment != other.environment
    assert not any("token" in each for each in [*one.introduction, *(one.chatbot or ())])


def test_a_weakness_that_nobody_found_is_missed_and_a_rule_that_holds_is_no_weakness() -> None:
    on, off = Weakness(WEAK[0]), next(each for each in Weakness if each not in WEAK)
    lines = [
        str(line)
        for line in weaknesses([_test(RULE_OF[on]), _test(RULE_OF[on]), _test(RULE_OF[off])])
    ]

    assert re.search(rf"on +{on} .*found in 2$", lines[1])
    assert [line.split()[1] for line in lines if line.endswith("missed")] == list(WEAK[1:])
    assert re.search(rf"off +{off} .*false alarm in 1$", lines[-2])
    assert "others: none reported" in lines[-1]


def test_a_case_without_a_verdict_reports_nothing() -> None:
    lines = [str(line) for line in weaknesses([{"result": {"judge": None}}])]

    assert all("found in" not in line and "alarm" not in line for line in lines)


@pytest.mark.parametrize(
    ("low", "rate", "high", "drawn"),
    [
        (0.0, 0.0, 0.5, "●────────────············"),
        (0.5, 1.0, 1.0, "············────────────●"),
        (0.25, 0.5, 0.75, "······──────●──────······"),
    ],
)
def test_an_interval_is_drawn_between_none_and_all(
    low: float, rate: float, high: float, drawn: str
) -> None:
    assert interval({"rate": rate, "low": low, "high": high}) == drawn


def test_a_rate_of_nothing_is_not_drawn() -> None:
    nothing = interval({"rate": None, "low": None, "high": None})

    assert nothing.strip() == "not measured"
    assert len(nothing) == 25


def _test(rule: str) -> Mapping[str, Any]:
    """A case in which one rule was violated and another followed."""
    return {"result": {"judge": {"rule_compliance": [
        {"rule_id": rule, "status": "VIOLATED"},
        {"rule_id": "no_capability_loop", "status": "FOLLOWED"},
    ]}}}  # fmt: skip
