"""Eight chats of a telecom's support, by commands alone: from a file to a judged run with intents,
a rule, a check and an evaluator of one's own, without a restart of anything."""

import json
import tomllib

from tests.cli.conftest import Shell
from tests.page.test_telecom import CHATS, INTENTS, LEAK, RULE, labels, messages

OWN = f"""
[[rules]]
rule_id = "no_data_of_others"
section = "Privacy"
text = "{RULE}"
scopes = ["pii_leak"]

[[evaluators]]
name = "manners"
scope = "turn"
prompt = "Is it friendly? {{{{answer}}}}"
output = {{ kind = "category", labels = ["KIND", "RUDE"], good = ["KIND"], bad = ["RUDE"] }}

[[evaluators]]
use = "pii_leak"

[[checks]]
name = "no_streets"
kind = "contains"
texts = ["Lane", "Street"]
match = "none"

[[checks]]
name = "quick"
kind = "latency"
max_seconds = 10
from_timestamps = true
"""


async def test_by_commands_alone(shell: Shell) -> None:
    shell.write("gold.json", json.dumps(labels()))
    vendor = await shell.start("simulate", "--port=0", "--gold", "gold.json")
    address = (await vendor.until("simulated provider on ", "out")).split()[-1]
    judge = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": address}
    worker = await shell.start("worker", **judge)
    await worker.until(" is ready: ")
    shell.write("telecom.csv", messages())
    # 1: the file is stored, 2: and a draft made of it, 3: which a person edits.
    dataset = (await shell.run("datasets", "add", "telecom.csv")).out.strip()
    draft = (await shell.run("apps", "new", "--from", dataset)).out
    shell.write("telecom.toml", edited(draft))
    # 4: It is checked, 5: its evaluator is tried, 6: and it is stored for these chats.
    checked = await shell.run("apps", "check", "telecom.toml")
    tried = await shell.run(
        "evaluators", "try", "telecom.toml", "manners", "--dataset", dataset, "--count", "2",
        "--json", **judge,
    )  # fmt: skip
    added = await shell.run("apps", "add", "telecom.toml", "--dataset", dataset)
    # 7: The chats are evaluated.
    ended = await shell.run(
        "submit", "evaluate-batch", f"dataset_id={dataset}", "name=telecom",
        "evaluate_correctness:=false", "evaluate_efficiency:=false", "--watch", **judge,
    )  # fmt: skip
    # 8: The chat that leaks is found by the rule, by its words, and by the check.
    leaking = await shell.run(
        "runs", "threads", "telecom", "--where", "pii_leak.rules_followed=false", "--json"
    )
    said = await shell.run("runs", "threads", "telecom", "--text", "mill lane", "--json")
    street = await shell.run(
        "runs", "threads", "telecom", "--where", "checks.no_streets=false", "--json"
    )
    rude = await shell.run("runs", "threads", "telecom", "--where", "manners=RUDE", "--json")

    for each in (checked, tried, added, ended, leaking, said, street, rude):
        assert each.exit_code == 0, each.err
    assert added.out == "telecom@1\n"
    assert f"{len(CHATS)} of {len(CHATS)} conversations" in ended.out
    for found in (leaking, said, street):
        assert [each["thread_id"] for each in found.json] == ["c3"]
    assert LEAK in messages()
    assert [each["thread_id"] for each in rude.json] == ["c2"]
    everything = (await shell.run("runs", "threads", "telecom", "--json")).json
    assert len(everything) == len(CHATS)


def edited(draft: str) -> str:
    """The draft with intents, a rule, a check and an evaluator of its own instead of proposals."""
    known = tomllib.loads(draft)
    intents = "".join(
        f'[[intents]]\nname = "{name}"\ndescription = "It is about {name}."\n' for name in INTENTS
    )
    return (
        f'app_id = "{known["app_id"]}"\nname = "Telecom support"\n'
        'about = "Support of a telephone company."\n'
        '[[query_types]]\nname = "action"\ndescription = "Something is asked for."\n'
        '[[thread_types]]\nname = "request"\ndescription = "Something is wanted."\n'
        f"has_efficiency = true\n{intents}{OWN}"
    )


async def test_chats_that_no_app_is_named_for_are_submitted_with_a_warning(shell: Shell) -> None:
    judge = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": "http://localhost:9"}
    shell.write("telecom.csv", messages())
    dataset = (await shell.run("datasets", "add", "telecom.csv")).out.strip()

    for named, warned in (((), True), (("app_id=kaira-bot",), False)):
        submitted = await shell.run(
            "submit", "evaluate-batch", f"dataset_id={dataset}", *named, **judge
        )
        assert submitted.exit_code == 0
        assert ("Warning: No app is named, so kaira-bot is used" in submitted.err) == warned
