"""The commands about apps."""

from pathlib import Path

import pytest
from tests.apps.conftest import TELECOM
from tests.cli.conftest import Shell

CSV = (
    "thread_id,user_id,session_id,query_text,final_response_message,intent_detected,"
    "timestamp,has_image\nt1,u1,s1,my bill,It is 20 euro,Billing,2025-11-01T08:00:00Z,0\n"
)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "telecom.toml"
    path.write_text(TELECOM)
    return str(path)


async def test_an_app_is_added_listed_shown_compared_and_removed(shell: Shell, file: str) -> None:
    added = await shell.run("apps", "add", file)
    again = await shell.run("apps", "add", file, "--json")
    Path(file).write_text(TELECOM.replace("telephone", "mobile"))
    differing = await shell.run("apps", "diff", "telecom", file)
    second = await shell.run("apps", "add", file)
    same = await shell.run("apps", "diff", "telecom@2", file)
    versions = await shell.run("apps", "diff", "telecom@1", "telecom", "--json")
    listed = (await shell.run("apps", "list", "--json")).json
    table = await shell.run("apps")
    shown = await shell.run("apps", "show", "telecom", "--version", "1")
    as_json = (await shell.run("apps", "show", "telecom", "--json")).json
    removed = await shell.run("apps", "remove", "telecom")
    gone = await shell.run("apps", "remove", "telecom")

    assert (added.exit_code, added.out) == (0, "telecom@1\n")
    assert (again.json["version"], again.json["is_new"]) == (1, False)
    assert (differing.exit_code, differing.out) == (
        1,
        '- about: "Support of a telephone company."\n+ about: "Support of a mobile company."\n',
    )
    assert (second.out, same.exit_code, same.out) == ("telecom@2\n", 0, "")
    assert (versions.exit_code, len(versions.json["changes"])) == (1, 2)
    assert [(each["app_id"], each["version"]) for each in listed] == [
        ("kaira-bot", None), ("retail-support", None), ("telecom", 2),
    ]  # fmt: skip
    assert "(shipped)" in table.out
    assert 'about = "Support of a telephone company."' in shown.out
    assert [each["version"] for each in as_json["versions"]] == [2, 1]
    assert (removed.exit_code, removed.out) == (0, "removed telecom\n")
    assert (gone.exit_code, gone.out) == (4, "")


async def test_what_is_wrong_is_named_and_nothing_is_stored(
    shell: Shell, file: str, tmp_path: Path
) -> None:
    Path(file).write_text(TELECOM.replace('"telecom"', '"kaira-bot"'))
    shipped = await shell.run("apps", "add", file)
    Path(file).write_text(TELECOM.replace('["efficiency"]', '["correctness"]') + "extra = 1")
    wrong = await shell.run("apps", "check", file)
    as_json = await shell.run("apps", "add", file, "--json")
    other = tmp_path / "telecom.txt"
    other.write_text(TELECOM)
    unknown = await shell.run("apps", "check", str(other))
    missing = await shell.run("apps", "show", "telecom")
    kept = await shell.run("apps", "remove", "kaira-bot")

    assert (shipped.exit_code, wrong.exit_code, as_json.exit_code) == (2, 2, 2)
    assert "app_id: kaira-bot is shipped" in shipped.err
    assert f"{file}: rules.0.extra: " in wrong.err
    assert as_json.json["problems"][0]["loc"] == ["rules", 0, "extra"]
    assert (unknown.exit_code, kept.exit_code, missing.exit_code) == (2, 2, 4)
    assert "must end in .toml" in unknown.err


async def test_a_draft_has_the_labels_of_a_dataset_and_is_used_for_it(
    shell: Shell, tmp_path: Path
) -> None:
    data = tmp_path / "Calls of June.csv"
    data.write_text(CSV)
    dataset_id = (await shell.run("datasets", "add", str(data))).out.strip()
    draft = tmp_path / "calls.toml"
    starter = await shell.run("apps", "new", "my-bot")
    drafted = await shell.run("apps", "new", "--from", dataset_id, "--output", str(draft))
    twice = await shell.run("apps", "new", "--output", str(draft))
    checked = await shell.run("apps", "check", str(draft))
    added = await shell.run("apps", "add", str(draft), "--dataset", dataset_id)
    job = await shell.run(
        "submit", "evaluate-batch", f"dataset_id={dataset_id}", "llm_provider=simulated", "--json"
    )
    nowhere = await shell.run("apps", "new", "--from", "sha256:0000")
    named = await shell.run("apps", "new", "My Bot")

    assert 'app_id = "my-bot"' in starter.out
    assert 'name = "Billing"' in draft.read_text()
    assert (drafted.exit_code, twice.exit_code, checked.exit_code) == (0, 2, 0)
    assert added.out == "calls-of-june@1\n"
    assert job.json["params"]["app_id"] == "calls-of-june"
    assert (nowhere.exit_code, named.exit_code) == (4, 2)
    assert "app_id: use small letters" in named.err
