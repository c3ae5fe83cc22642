"""The commands about datasets."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Shell

from evalqueue.evaluators.simulated.conversations import kaira_csv, sample_csv

CHAT = {"id": "c1", "messages": [{"role": "user", "content": "hi"}]}


async def test_files_are_added_listed_shown_and_removed(shell: Shell, tmp_path: Path) -> None:
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps(CHAT))
    none = await shell.run("datasets")
    added = await shell.run("datasets", "add", str(kaira_csv()), str(chats))
    again = await shell.run("datasets", "add", str(kaira_csv()), "--name", "Kaira", "--json")
    ids = added.out.split()
    listed = (await shell.run("datasets", "list", "--json")).json
    table = await shell.run("datasets")
    shown = await shell.run("datasets", "show", ids[0][7:20], "--json")
    text = await shell.run("datasets", "show", ids[0])
    submitted = await shell.run(
        "submit", "evaluate-batch", f"dataset_id={ids[0]}", "llm_provider=simulated"
    )
    held = await shell.run("datasets", "remove", ids[0])
    removed = await shell.run("datasets", "remove", ids[1])
    gone = await shell.run("datasets", "remove", ids[1], "--json")

    assert (none.exit_code, none.out) == (0, "")
    assert "evalqueue datasets add" in none.err
    assert (added.exit_code, len(ids)) == (0, 2)
    assert "48 conversations" in added.err
    assert (again.json["is_new"], again.json["id"]) == (False, ids[0])
    assert {each["id"]: each["name"] for each in listed} == {
        ids[0]: "Kaira", ids[1]: "chats.jsonl",
    }  # fmt: skip
    assert "Kaira" in table.out
    assert shown.json["threads"] == 48
    assert len(shown.json["first_threads"]) == 20
    assert "thr_0001" in text.out
    assert submitted.exit_code == 0, submitted.err
    assert (held.exit_code, held.out) == (4, "")
    assert "Cancel it, or wait" in held.err
    assert (removed.exit_code, removed.out) == (0, "removed chats.jsonl\n")
    assert (gone.exit_code, gone.out) == (4, "")


async def test_a_file_with_bad_rows_is_refused_row_by_row_and_the_next_is_still_added(
    shell: Shell, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.csv"
    lines = sample_csv().read_text().splitlines()
    bad.write_text("\n".join([*lines, "short,row"]))
    refused = await shell.run("datasets", "add", str(bad), str(sample_csv()))
    as_json = await shell.run("datasets", "add", str(bad), "--json")

    assert refused.exit_code == as_json.exit_code == 2
    assert f"{bad}: row " in refused.err
    assert refused.out.startswith("sha256:")
    assert as_json.json["bad_rows"][0]["row"]


async def test_a_mapping_comes_from_the_line_or_from_a_file(shell: Shell, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.csv"
    theirs.write_text(sample_csv().read_text().replace("thread_id", "Chat", 1))
    mapping = tmp_path / "mapping.json"
    mapping.write_text('{"thread_id": "Chat"}')
    added = await shell.run("datasets", "add", str(theirs), "--mapping", f"@{mapping}", "--json")
    wrong = await shell.run("datasets", "add", str(theirs), "--mapping", '{"thread_id": "X"}')
    no_text = await shell.run("datasets", "add", str(theirs), "--mapping", '{"thread_id": 1}')

    assert added.json["mapping"] == {"thread_id": "Chat"}
    assert (wrong.exit_code, no_text.exit_code) == (2, 2)
    assert "'X', which it is mapped to" in wrong.err


async def test_names_of_a_file_are_masked(shell: Shell, tmp_path: Path) -> None:
    chats, names = tmp_path / "chats.csv", tmp_path / "names.txt"
    chats.write_text("id,question,answer\nc1,I am Ann Lee,Hello ANN LEE\n")
    names.write_text("Ann Lee\n")

    added = await shell.run(
        "datasets", "add", str(chats), "--mask-names", str(names), "--mask", "cards", "--json"
    )
    shown = await shell.run("datasets", "show", added.json["id"], "--json")

    assert shown.json["first_threads"][0]["opening"] == "I am [name]"
    assert added.json["notices"][0]["message"] == (
        "Masked before it was stored: 2 values (cards, names)."
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "nothing.csv"], "nothing.csv"),
        (["add", str(sample_csv()), "--mask-names", "nothing.txt"], "nothing.txt"),
        (["add", str(sample_csv()), str(kaira_csv()), "--name", "x"], "one name for several"),
        (["add", str(sample_csv()), "--date-order", "us"], "write day-first or month-first"),
        (["add", str(sample_csv()), "--mask", "names"], "Known: emails, phones, cards"),
        (["add", str(sample_csv()), "--format", "docx"], "no format 'docx'. Known: csv, jsonl"),
    ],
)
async def test_what_cannot_be_is_wrong_usage(shell: Shell, arguments: list[str], says: str) -> None:
    done = await shell.run("datasets", *arguments)

    assert done.exit_code == 2
    assert says in done.err


async def test_a_file_that_is_larger_than_it_may_be_is_not_read(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await shell.run("datasets", "add", str(kaira_csv()), EVALQUEUE_MAX_DATASET_BYTES="2000")

    assert done.exit_code == 2
    assert "EVALQUEUE_MAX_DATASET_BYTES" in done.err
