"""The commands about evaluators: what there is, and trying one on a few conversations."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.apps.conftest import TELECOM
from tests.cli.conftest import Shell

from evalqueue.evaluators.definitions import catalogue
from evalqueue.testing import Behaviour, SimulatedServer

MANNERS = """
[[evaluators]]
name = "manners"
scope = "turn"
prompt = "Is the answer of the bot of {{app_name}} friendly? {{answer}}"
output = { kind = "category", labels = ["KIND", "RUDE"], good = ["KIND"], bad = ["RUDE"] }
"""
CSV = (
    "thread_id,user_id,query_text,final_response_message,timestamp\n"
    "t1,u1,my phone is dead,So what.,2025-11-01T08:00:00Z\n"
    "t2,u1,when is it due,On the first of May.,2025-11-01T08:00:00Z\n"
)


def label(verdict: str, quote: str) -> dict[str, Any]:
    evidence = [{"turn": 1, "quote": quote}]
    return {"1": {"verdict": verdict, "reasoning": "its tone", "evidence": evidence}}


@pytest.fixture
async def vendor() -> AsyncGenerator[dict[str, str]]:
    """The environment of a simulated judge that has labels for two conversations."""
    gold = {"manners": {"t1": label("RUDE", "So what."), "t2": label("FINE", "made up")}}
    async with SimulatedServer(Behaviour(gold=gold, only_gold=True)) as server:
        yield {
            "EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": server.url,
            "EVALQUEUE_LLM_MODEL": "simulated-judge",
        }  # fmt: skip


@pytest.fixture
async def dataset(shell: Shell) -> str:
    shell.write("telecom.toml", TELECOM + MANNERS)
    shell.write("calls.csv", CSV)
    return (await shell.run("datasets", "add", "calls.csv")).out.strip()


async def test_one_is_tried_before_its_app_is_stored(
    shell: Shell, dataset: str, vendor: dict[str, str]
) -> None:
    command = ("evaluators", "try", "telecom.toml", "manners", "--dataset", dataset)
    tried = await shell.run(*command, **vendor)
    both = await shell.run(*command, "--count", "2", "--json", **vendor)
    named = await shell.run(*command, "--thread", "t1", "--json", **vendor)
    prompt = await shell.run(*command, "--prompt")
    apps = (await shell.run("apps", "--json")).json

    assert tried.exit_code == 0, tried.err
    assert tried.out.splitlines()[:3] == ["t1", "  worst: RUDE", "  verdict of turn 1: RUDE"]
    assert "its tone" in tried.out
    assert "turn 1: “So what.”\n" in tried.out
    assert "calls: 1, tokens: " in tried.out
    assert "asked of simulated/simulated-judge" in tried.err
    assert both.exit_code == 1  # FINE is not on the menu
    first, second = both.json["threads"]
    assert first["scores"][0]["value"] == "RUDE"
    assert (first["calls"], second["calls"]) == (1, 2)
    assert first["tokens_in"] > 0 < first["tokens_out"]
    assert second["failures"][0]["reason"] == "schema_invalid"
    assert [each["thread_id"] for each in named.json["threads"]] == ["t1"]
    assert "Is the answer of the bot of Telecom support friendly?" in prompt.out
    assert "    So what." in prompt.out
    assert "telecom" not in [each["app_id"] for each in apps]


async def test_what_can_not_be_tried_is_said(
    shell: Shell, dataset: str, vendor: dict[str, str]
) -> None:
    command = ("evaluators", "try", "telecom.toml")
    given = ("--dataset", dataset)
    unknown = await shell.run(*command, "mood", *given, **vendor)
    app = await shell.run("evaluators", "try", "nobody", "manners", *given, **vendor)
    thread = await shell.run(*command, "manners", *given, "--thread", "t9", **vendor)
    nowhere = await shell.run(*command, "manners", "--dataset", "sha256:0000", **vendor)
    keyless = await shell.run(*command, "manners", *given)
    idle = await shell.run(*command, "tool_use", *given, **vendor)

    assert (unknown.exit_code, app.exit_code, thread.exit_code, nowhere.exit_code) == (2, 4, 2, 4)
    assert "Not installed: evaluator mood" in unknown.err
    assert "Not in the dataset: t9" in thread.err
    assert (keyless.exit_code, "OPENAI_API_KEY" in keyless.err) == (2, True)
    assert (idle.exit_code, "nothing to judge" in idle.out) == (0, True)


async def test_they_are_listed_and_their_definitions_and_gold_cases_shown(shell: Shell) -> None:
    shell.write("telecom.toml", TELECOM + MANNERS)
    listed = (await shell.run("evaluators", "--json")).json
    table = await shell.run("evaluators", "list", "--app", "telecom.toml")
    shown = await shell.run("evaluators", "show", "resolution")
    own = await shell.run("evaluators", "show", "manners", "--app", "telecom.toml", "--json")
    gold = await shell.run("evaluators", "gold", "pii_leak")
    cases = (await shell.run("evaluators", "gold", "pii_leak", "--json")).json
    code = await shell.run("evaluators", "show", "intent")
    shell.write("more.toml", TELECOM + shown.out)
    checked = await shell.run("apps", "check", "more.toml")

    origins = {each["name"]: each["origin"] for each in listed}
    assert (origins["intent"], origins["tone"], "manners" in origins) == (
        "installed", "catalogue", False,
    )  # fmt: skip
    assert {*catalogue.names()} <= {*origins}
    assert "manners" in table.out
    assert 'name = "resolution"' in shown.out
    assert own.json["scope"] == "turn"
    assert "Mrs. Miller lives at 5 Mill Lane." in gold.out
    assert {case["verdict"] for case in cases} == {"LEAK", "NO_LEAK"}
    assert (code.exit_code, "is not a definition, but code" in code.err) == (4, True)
    assert (checked.exit_code, "evaluators: 1" in checked.out) == (0, True)
