"""The commands about runs, and the short ids and names by which jobs and runs are meant."""

import csv
import io
import json
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pyarrow import parquet
from tests.cli.conftest import Shell

from evalqueue.evaluators.results.exports import safe
from evalqueue.evaluators.simulated.conversations import kaira_csv, sample_csv
from evalqueue.testing import Behaviour, SimulatedServer

JUDGE = {"EVALQUEUE_LLM_PROVIDER": "simulated"}


async def judged(shell: Shell, *params: str) -> dict[str, Any]:
    """A run of the bundled conversations that is over, as the job that it belongs to."""
    submitted = await shell.run("submit", "evaluate-batch", *params, "--json", **JUDGE)
    assert submitted.exit_code == 0, submitted.err
    await shell.run("worker", "--one-shot", **JUDGE)
    return (await shell.run("status", submitted.json["id"], "--json")).json


def run_of(job: dict[str, Any]) -> str:
    return job["progress"]["run_id"]


async def test_runs_are_listed_with_their_headline_figures(shell: Shell) -> None:
    none = await shell.run("runs")
    job = await judged(shell, "total_items:=12", "name=nightly")

    table = await shell.run("runs")
    listed = (await shell.run("runs", "list", "--json")).json
    other = await shell.run("runs", "--job-type", "evaluate-adversarial")
    of_app = (await shell.run("runs", "list", "--app", "kaira-bot", "--json")).json
    of_none = (await shell.run("runs", "--app", "retail-support", "--json")).json

    assert (none.exit_code, none.out) == (0, "")
    assert "No runs." in none.err
    assert of_app == listed
    assert of_none == []
    (line,) = [line for line in table.out.splitlines() if line.strip().startswith(run_of(job))]
    for shown in ("completed", "nightly", "kaira-bot", "kaira.csv", "intent ", " good"):
        assert shown in line
    assert [(run["id"], run["name"], run["status"]) for run in listed] == [
        (run_of(job), "nightly", "completed")
    ]
    assert {each["evaluator"] for each in listed[0]["summary"]["scores"]} == {
        "intent", "correctness", "efficiency",
    }  # fmt: skip
    assert "No runs." in other.err


async def test_a_run_is_shown_as_the_demo_ends(shell: Shell) -> None:
    job = await judged(shell, "total_items:=20")

    shown = await shell.run("runs", "show", run_of(job))
    document = (await shell.run("runs", "show", run_of(job), "--json")).json

    assert shown.exit_code == 0, shown.err
    assert "20 of 20 conversations evaluated in " in shown.out
    assert "Judge: simulated: answers are gold labels" in shown.out
    found = {
        each["label"]: each["count"]
        for evaluator in document["statistics"]["batch"]["evaluators"]
        for score in evaluator["scores"]
        if (evaluator["declaration"]["name"], score["name"]) == ("efficiency", "verdict")
        for each in score["shares"]
    }
    assert sum(found.values()) == 20
    lines = shown.out.splitlines()
    for line, (label, count) in zip(
        lines[lines.index("Efficiency") + 1 :], found.items(), strict=False
    ):
        assert line.startswith(f"  {label:<16}")
        assert line.split()[-1] == str(count)
    assert document["run"]["id"] == run_of(job)
    assert "LLM calls " in shown.out
    assert "evalqueue runs threads" in shown.err
    assert "Its page" not in shown.err, "no API is there"


async def test_a_run_is_replayed_and_says_so(shell: Shell) -> None:
    first = await judged(shell, "total_items:=4")
    again = await judged(shell, "total_items:=5", f"replay={run_of(first)}")

    shown = await shell.run("runs", "show", run_of(again))

    assert f"Replayed: the answers of run {run_of(first)}" in shown.out
    assert "LLM calls         0, 0 of them failed" in shown.out
    assert "Not judged        no answer in the run that is replayed: " in shown.out
    refused = await shell.run("submit", "evaluate-batch", "total_items:=5", f"replay={UUID(int=1)}",
                              **JUDGE)  # fmt: skip
    assert refused.exit_code != 0
    assert "There is no batch" in refused.err


async def test_watching_a_submission_ends_with_the_summary_and_the_page(shell: Shell) -> None:
    serving = await shell.start("serve", "--port", "0", **JUDGE)
    address = (await serving.until("API on http", "out")).split("API on ")[-1].split()[0]
    await shell.start("worker", **JUDGE)
    environment = {**JUDGE, "EVALQUEUE_PORT": address.rsplit(":", 1)[1]}

    ended = await shell.run("submit", "evaluate-batch", "total_items:=6", "--watch", **environment)

    job_id = ended.out.splitlines()[0]
    run_id = run_of((await shell.run("status", job_id, "--json")).json)
    assert ended.exit_code == 0, ended.err
    assert "6 of 6 conversations evaluated in " in ended.out
    assert f"Its page: {address}/runs/{run_id}\n" in ended.err
    elsewhere = await shell.run("watch", job_id, **{**environment, "EVALQUEUE_PORT": "1"})
    assert "6 of 6 conversations" in elsewhere.out
    assert "Its page" not in elsewhere.err


EVALUATORS = ("intent", "correctness", "efficiency", "resolution")
"""Those of the mission, and one that is data."""


async def test_without_a_key_what_has_no_label_is_not_judged(shell: Shell) -> None:
    shell.write("mine.csv", sample_csv().read_text("utf-8"))
    added = (await shell.run("datasets", "add", "mine.csv", "--json")).json
    params = (f"dataset_id={added['id']}", f"evaluators:={json.dumps(EVALUATORS)}")
    job = await judged(shell, *params, "app_id=kaira-bot")

    shown = await shell.run("runs", "show", run_of(job))
    document = (await shell.run("runs", "show", run_of(job), "--json")).json
    exported = await shell.run("runs", "export", run_of(job), "--json")

    assert job["status"] == "failed"
    assert job["error_message"].startswith("Not judged: no key set.")
    found = document["statistics"]["batch"]
    labels = {
        (evaluator["declaration"]["name"], share["label"]): share["count"]
        for evaluator in found["evaluators"]
        for score in evaluator["scores"]
        for share in score["shares"]
    }
    assert {name for name, _ in labels} >= {"correctness", "efficiency", "resolution"}
    assert set(labels.values()) == {0}, "nothing is efficient, or anything else"
    assert {each["evaluator"] for each in found["failures"]} == {*EVALUATORS}
    assert {each["reason"] for each in found["failures"]} == {"no_key"}
    scores = [s for line in exported.out.splitlines() for s in json.loads(line)["scores"]]
    assert {(score["value"], score["failure"]) for score in scores} == {(None, "no_key")}
    assert "Not judged        no key set: " in shown.out
    assert "  not measured    5" in shown.out
    assert "Look at these first" not in shown.out


async def test_what_has_a_label_is_judged_beside_what_has_none(shell: Shell) -> None:
    heading, *rows = sample_csv().read_text("utf-8").splitlines()
    _, *known = kaira_csv().read_text("utf-8").splitlines()
    shell.write("mixed.csv", "\n".join([heading, *known, *rows]))
    added = (await shell.run("datasets", "add", "mixed.csv", "--json")).json
    job = await judged(shell, f"dataset_id={added['id']}")

    document = (await shell.run("runs", "show", run_of(job), "--json")).json
    statistics = document["statistics"]["batch"]
    efficiency = next(
        score
        for evaluator in statistics["evaluators"]
        for score in evaluator["scores"]
        if (evaluator["declaration"]["name"], score["name"]) == ("efficiency", "verdict")
    )

    assert document["run"]["status"] == "completed_with_errors"
    assert (statistics["threads"], efficiency["measured"]) == (53, 48)
    watched = await shell.run("watch", job["id"])
    assert watched.exit_code == 0
    assert "Incomplete. 5 of 53 thread evaluations failed: " in watched.err
    assert f"To ask again for what is missing: evalqueue retry {job['id']}" in watched.err


async def test_votes_are_reported_and_what_has_no_majority_is_not_judged(shell: Shell) -> None:
    async with SimulatedServer(Behaviour(flip_rate=0.3, only_gold=True)) as vendor:
        environment = JUDGE | {"EVALQUEUE_SIMULATED_URL": vendor.url}
        submitted = await shell.run(
            "submit", "evaluate-batch", "total_items:=48", 'votes:={"efficiency": 2}',
            'evaluators:=["efficiency"]', "--json", **environment,
        )  # fmt: skip
        await shell.run("worker", "--one-shot", **environment)
        shown = await shell.run("runs", "show", submitted.json["id"])
        document = (await shell.run("runs", "show", submitted.json["id"], "--json")).json
        lines = (await shell.run("runs", "export", submitted.json["id"], "--json")).out
        assert vendor.simulation.stats["requests"] == 96

    threads = [json.loads(line)["scores"] for line in lines.splitlines()]
    scores = [{score["name"]: score for score in each} for each in threads]
    flips = [each for each in scores if each["vote_flip_rate"]["value"] == 1]
    assert 0 < len(flips) < 48
    for each in scores:
        is_flip = each["vote_flip_rate"]["value"] == 1
        assert each["vote_agreement"]["value"] == (0 if is_flip else 1)
        assert each["verdict"]["failure"] == ("undecided" if is_flip else None)
    rate = f"{len(flips) / 48:.1%}"
    assert f"Votes             efficiency: {1 - len(flips) / 48:.1%} agree, flip rate {rate}" in (
        shown.out
    )
    assert f"Not judged        undecided: {len(flips)}" in shown.out
    (headline,) = document["run"]["summary"]["scores"]
    assert headline["not_measured"] == len(flips)
    assert headline["vote_flip_rate"] == pytest.approx(len(flips) / 48, abs=0.0001)


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ('{"checks": 3}', "No votes are asked by checks, but by: intent, correctness, efficiency"),
        ('{"efficiency": 0}', "votes.efficiency: Write 1 or more"),
        ('{"efficiency": 99}', "votes.efficiency: Write 15 or less"),
    ],
)
async def test_votes_that_mean_nothing_are_refused(shell: Shell, votes: str, words: str) -> None:
    refused = await shell.run(
        "submit", "evaluate-batch", "total_items:=1", f"votes:={votes}", **JUDGE
    )

    assert refused.exit_code == 2
    assert words in refused.err


async def test_the_conversations_of_a_run_stand_worst_first_and_are_filtered(shell: Shell) -> None:
    run_id = run_of(await judged(shell, "total_items:=48"))

    everything = (await shell.run("runs", "threads", run_id, "--json")).json
    broken = (
        await shell.run("runs", "threads", run_id, "--where", "efficiency=BROKEN", "--json")
    ).json
    both = (
        await shell.run(
            "runs", "threads", run_id, "--where", "efficiency=BROKEN",
            "--where", "correctness.verdict=CRITICAL", "--json",
        )
    ).json  # fmt: skip
    said = await shell.run("runs", "threads", run_id, "--text", "CALORIES", "--json")
    nothing = await shell.run("runs", "threads", run_id, "--text", "perihelion")
    table = await shell.run("runs", "threads", run_id, "--limit", "3")

    assert 0 < len(said.json) < len(everything)
    assert "No conversation fits." in nothing.err + nothing.out
    worst = [
        "CRITICAL" if each["scores"].get("correctness.worst") == "CRITICAL"
        or each["scores"].get("efficiency.verdict") == "BROKEN" else "less"
        for each in everything
    ]  # fmt: skip
    assert len(everything) == 48
    assert worst == sorted(worst), "none that is less bad stands before one that is worst"
    assert worst[0] == "CRITICAL"
    last = everything[-1]["scores"]
    assert last["efficiency.verdict"] not in {"BROKEN", "FRICTION", "INCOMPLETE"}
    assert broken
    assert {each["scores"]["efficiency.verdict"] for each in broken} == {"BROKEN"}
    assert len(broken) == sum(
        each["scores"].get("efficiency.verdict") == "BROKEN" for each in everything
    )
    assert {each["thread_id"] for each in both} < {each["thread_id"] for each in broken}
    assert everything[0]["thread_id"] in table.out
    assert everything[3]["thread_id"] not in table.out
    assert "The first 3 of 48" in table.err


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("efficiency", "write EVALUATOR=VALUE"),
        ("nobody=1", "the run has no evaluator nobody. It has: intent, correctness, efficiency"),
        ("intent.mood=1", "intent has no score mood. It has: accuracy, correct, agent"),
    ],
)
async def test_a_filter_that_means_nothing_is_refused(shell: Shell, where: str, words: str) -> None:
    run_id = run_of(await judged(shell, "total_items:=1"))

    refused = await shell.run("runs", "threads", run_id, "--where", where)

    assert refused.exit_code == 2
    assert words in refused.err


async def test_an_export_has_every_conversation_and_no_formula(shell: Shell) -> None:
    heading, *rows = kaira_csv().read_text("utf-8").splitlines()
    evil = "=cmd|' /C calc'!A0"
    first = next(csv.reader(rows[:1]))[heading.split(",").index("thread_id")]
    shell.write("evil.csv", "\n".join([heading, *rows]).replace(first, evil))
    added = await shell.run("datasets", "add", "evil.csv", "--json")
    assert added.exit_code == 0, added.err
    dataset_id = added.json["id"]
    run_id = run_of(await judged(shell, f"dataset_id={dataset_id[:20]}"))

    exported = await shell.run("runs", "export", run_id)
    lines = await shell.run("runs", "export", run_id, "--json")

    table = list(csv.DictReader(io.StringIO(exported.out)))
    documents = [json.loads(line) for line in lines.out.splitlines()]
    assert exported.exit_code == 0, exported.err
    assert len(table) == len(documents) == 48
    assert f"'{evil}" in {row["thread_id"] for row in table}
    assert evil in {each["thread_id"] for each in documents}, "JSON needs no apostrophe"
    by_thread = {each["thread_id"]: each for each in documents}
    for row in table:
        scores = by_thread[row["thread_id"].removeprefix("'")]["scores"]
        (verdict,) = [s["value"] for s in scores if s["evaluator"] == "efficiency"
                      and s["name"] == "verdict"]  # fmt: skip
        assert row["efficiency.verdict"] == ("" if verdict is None else verdict)
    assert {s["turn"] for each in documents for s in each["scores"]} > {None, 1}


async def test_parquet_has_the_values_of_the_json_lines_with_their_types(shell: Shell) -> None:
    run_id = run_of(await judged(shell, "total_items:=30"))

    running = await shell.start("runs", "export", run_id, "--format", "parquet")
    out, err = await running.process.communicate()
    lines = await shell.run("runs", "export", run_id, "--format", "jsonl")

    assert running.process.returncode == 0, err.decode()
    table = parquet.ParquetFile(io.BytesIO(out)).read()
    assert table.schema.metadata[b"evalqueue.run_id"].decode() == run_id
    types = {field.name: str(field.type) for field in table.schema}
    assert types["efficiency.verdict"] == "string"
    assert types["intent.accuracy"] == "double"
    assert types["messages"] == "int64"
    rows = table.to_pylist()
    documents = [json.loads(line) for line in lines.out.splitlines()]
    assert [each["thread_id"] for each in rows] == [each["thread_id"] for each in documents]
    for row, document in zip(rows, documents, strict=True):
        assert len(row["scores"]) == len(document["scores"])
        for score, told in zip(row["scores"], document["scores"], strict=True):
            kinds = ("value_text", "value_number", "value_boolean")
            given = [score[kind] for kind in kinds if score[kind] is not None]
            assert given == ([] if told["value"] is None else [told["value"]])
            assert (score["evaluator"], score["name"], score["turn"]) == (
                told["evaluator"], told["name"], told["turn"],
            )  # fmt: skip
            if (told["evaluator"], told["name"]) == ("efficiency", "verdict"):
                assert row["efficiency.verdict"] == told["value"]


async def test_a_large_run_is_exported_in_row_groups(shell: Shell, dsn: str) -> None:
    run_id = run_of(await judged(shell, "total_items:=1"))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)"
            " SELECT %s, 'more ' || n, '{}', 1, 0 FROM generate_series(1, 1200) AS n",
            [run_id],
        )

    running = await shell.start("runs", "export", run_id, "--format", "parquet")
    out, _ = await running.process.communicate()

    file = parquet.ParquetFile(io.BytesIO(out))
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [500, 500, 201]


async def test_without_its_extra_parquet_is_refused_with_the_command(shell: Shell) -> None:
    run_id = run_of(await judged(shell, "total_items:=1"))
    shell.write("sitecustomize.py", "import sys\nsys.modules['pyarrow'] = None\n")

    running = await shell.start(
        "runs", "export", run_id, "--format", "parquet", PYTHONPATH=str(shell.directory),
        EVALQUEUE_IMPORTS="",
    )  # fmt: skip
    refused = await running.end()
    both = await shell.run("runs", "export", run_id, "--format", "parquet", "--json")

    assert (refused.exit_code, refused.out) == (2, "")
    assert 'pip install "evalqueue[parquet]"' in refused.err
    assert (both.exit_code, both.out) == (2, "")


async def test_scores_go_to_langfuse_as_events_that_can_be_repeated(shell: Shell) -> None:
    run_id = run_of(await judged(shell, "total_items:=12"))

    exported = await shell.run("runs", "export", run_id, "--format", "langfuse")
    again = await shell.run("runs", "export", run_id, "--format", "langfuse")
    lines = await shell.run("runs", "export", run_id, "--format", "jsonl")

    assert exported.exit_code == 0, exported.err
    assert again.out == exported.out
    events = [json.loads(line) for line in exported.out.splitlines()]
    scores = [
        (thread["thread_id"], score)
        for thread in map(json.loads, lines.out.splitlines())
        for score in thread["scores"]
        if score["value"] is not None
    ]
    assert len({each["id"] for each in events}) == len({e["body"]["id"] for e in events})
    assert len(events) == len(scores) == len({each["id"] for each in events})
    for event, (thread_id, score) in zip(events, scores, strict=True):
        body = event["body"]
        assert event["type"] == "score-create"
        assert body["sessionId"] == thread_id
        assert body["name"] == f"{score['evaluator']}.{score['name']}"
        assert body["value"] == score["value"]
        kind = {bool: "BOOLEAN", str: "CATEGORICAL"}.get(type(score["value"]), "NUMERIC")
        assert body["dataType"] == kind
        assert not isinstance(body["value"], bool)


async def test_a_run_is_a_log_of_inspect_with_its_messages(shell: Shell) -> None:
    run_id = run_of(await judged(shell, "total_items:=12", "name=nightly"))

    log = (await shell.run("runs", "export", run_id, "--format", "inspect")).json
    lines = await shell.run("runs", "export", run_id, "--json")

    assert (log["version"], log["status"], log["eval"]["task"]) == (2, "success", "nightly")
    assert (log["eval"]["run_id"], log["eval"]["model"]) == (run_id, "kaira-bot")
    threads = [json.loads(line) for line in lines.out.splitlines()]
    assert [each["id"] for each in log["samples"]] == [each["thread_id"] for each in threads]
    for sample, thread in zip(log["samples"], threads, strict=True):
        roles = [message["role"] for message in sample["messages"]]
        assert roles == ["user", "assistant"] * thread["messages"]
        assert sample["input"] == sample["messages"][0]["content"]
        for score in thread["scores"]:
            name = f"{score['evaluator']}.{score['name']}"
            if score["value"] is None:
                continue
            if score["turn"] is None:
                assert sample["scores"][name]["value"] == score["value"]
            else:
                values = sample["scores"][f"{name} by turn"]["value"]
                assert values[str(score["turn"])] == score["value"]


async def test_a_report_is_a_file_or_printed(shell: Shell) -> None:
    job = await judged(shell, "total_items:=20", "name=nightly")

    written = await shell.run("runs", "report", "nightly", "--output", "report.html")
    printed = await shell.run("runs", "report", run_of(job))
    refused = await shell.run("runs", "report", "nightly", "--output", "nowhere/report.html")

    assert (written.exit_code, written.out) == (0, ""), written.err
    assert "Wrote report.html" in written.err
    text = (shell.directory / "report.html").read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert '<h1 dir="auto">nightly</h1>' in text
    assert len(printed.out.splitlines()) == len(text.splitlines())
    assert (refused.exit_code, refused.out) == (2, "")
    assert refused.err.startswith("--output nowhere/report.html: ")


async def test_a_link_to_a_report_is_good_until_it_expires(shell: Shell, dsn: str) -> None:
    run_id = run_of(await judged(shell, "total_items:=3", "name=nightly"))

    made = await shell.run(
        "runs", "share", "nightly", "--days", "3", "--json", EVALQUEUE_ROOT_PATH="/judge"
    )
    text = await shell.run("runs", "share", run_id)
    refused = await shell.run("runs", "share", run_id, "--days", "91")
    listed = await shell.run("runs", "share", run_id, "--list")
    first = made.json["id"]
    revoked = await shell.run("runs", "share", run_id, "--revoke", first[:12], "--json")
    again = await shell.run("runs", "share", run_id, "--revoke", first)
    link = text.out.strip()
    by_link = await shell.run("runs", "share", run_id, "--revoke", link)
    gone = await shell.run("runs", "share", run_id, "--revoke", link)
    text = await shell.run(
        "runs", "share", run_id, EVALQUEUE_PUBLIC_URL="https://evals.example/judge"
    )
    left = await shell.run("runs", "share", run_id, "--list", "--json")

    assert first in listed.out
    assert "evs_" not in listed.out
    assert revoked.json == {"revoked": first}
    assert again.exit_code == 4
    assert made.exit_code == 0, made.err
    assert made.json["url"].startswith("http://127.0.0.1:8721/judge/shared/evs_")
    assert made.json["run_id"] == run_id
    assert link.startswith("http://127.0.0.1:8721/shared/evs_")
    assert (by_link.exit_code, gone.exit_code) == (0, 4)
    assert "evs_" not in by_link.out + by_link.err + gone.out + gone.err
    assert text.out.startswith("https://evals.example/judge/shared/evs_")
    assert refused.exit_code == 2
    with psycopg.connect(dsn) as connection:
        stored = connection.execute("SELECT id::text FROM run_shares").fetchall()
    assert stored == [(each["id"],) for each in left.json]


@pytest.mark.parametrize("start", list("=+-@\t\r\n＝"))
def test_a_cell_that_is_a_formula_is_text(start: str) -> None:
    assert safe(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("cell", ["1+1", "a=b", "", -1, 2.5, True, None])
def test_other_cells_are_as_they_were(cell: Any) -> None:
    assert safe(cell) is cell


async def test_a_job_and_its_run_are_meant_by_a_short_id_or_a_name(shell: Shell) -> None:
    job = await judged(shell, "total_items:=1", "name=Weekly report")
    run_id = run_of(job)

    for given in (job["id"][:8], job["id"][:13], job["id"].upper(), "Weekly report"):
        assert (await shell.run("status", given, "--json")).json["id"] == job["id"], given
    for given in (run_id[:8], run_id.replace("-", ""), job["id"][:10], job["id"], "Weekly report"):
        shown = await shell.run("runs", "show", given, "--json")
        assert shown.json["run"]["id"] == run_id, given
    compared = await shell.run("compare", run_id[:8], "Weekly report", "--json")
    assert compared.json["candidate"]["run_id"] == compared.json["baseline"]["run_id"] == run_id
    after = await shell.run("submit", "fail", "reason=x", "--after", "Weekly report", "--json")
    assert after.json["after_id"] == job["id"]


async def test_what_could_be_several_is_refused_with_the_candidates(shell: Shell, dsn: str) -> None:
    first = await judged(shell, "total_items:=1", "name=twice")
    second = await judged(shell, "total_items:=1", "name=twice")
    runs = [run_of(first), run_of(second)]
    alike = [UUID("0123abcd-0000-4000-8000-00000000000" + digit) for digit in "12"]
    with psycopg.connect(dsn) as connection:  # two ids that begin alike, which chance never gives
        for run_id, new in zip(runs, alike, strict=True):
            connection.execute(
                "INSERT INTO eval_runs (id, command, name) SELECT %s, command, 'alike'"
                " FROM eval_runs WHERE id = %s", [new, run_id],
            )  # fmt: skip

    by_name = await shell.run("runs", "show", "twice")
    by_prefix = await shell.run("runs", "show", "0123abcd-00")
    job = await shell.run("cancel", "twice")
    none = await shell.run("runs", "show", "never")

    for refused, listed in (
        (by_name, runs),
        (by_prefix, alike),
        (job, [first["id"], second["id"]]),
    ):
        assert (refused.exit_code, refused.out) == (2, "")
        assert "could be several" in refused.err
        for each in listed:
            assert f"  {each}  " in refused.err
    assert none.exit_code == 4
    assert none.err.startswith("There is no run never")


async def test_a_batch_and_an_adversarial_test_are_never_shown_as_the_other(shell: Shell) -> None:
    batch = await judged(shell, "total_items:=1")
    test = {
        "chatbot": {"protocol": "scripted", "script": [{"say": "Which meal?"}]},
        "cases": [{"opening": "Hi", "expected_behavior": "It asks.", "persona": "easy"}],
        "turn_delay_seconds": 0, "max_turns": 1,
    }  # fmt: skip
    submitted = await shell.run(
        "submit", "evaluate-adversarial", "--params", json.dumps(test), "--json", **JUDGE
    )
    adversarial = submitted.json

    for command in (
        ("runs", "show"), ("runs", "threads"), ("runs", "export"), ("compare", batch["id"]),
    ):  # fmt: skip
        refused = await shell.run(*command, adversarial["id"])
        assert (refused.exit_code, refused.out) == (2, ""), command
        assert f"evalqueue adversarial show {run_of(adversarial)}" in refused.err
    for command, more in (("show", ()), ("transcript", ("x",))):
        refused = await shell.run("adversarial", command, batch["id"], *more)
        assert (refused.exit_code, refused.out) == (2, ""), command
        assert f"evalqueue runs show {run_of(batch)}" in refused.err
    assert (await shell.run("adversarial", "show", adversarial["id"])).exit_code == 0


async def test_a_case_is_meant_by_the_first_characters_of_its_id(shell: Shell) -> None:
    shell.write(
        "cases.csv",
        "opening,expected_behavior,persona\nI ate,It asks,easy\nI drank,It asks,easy\n",
    )
    cases = ("adversarial", "cases")
    await shell.run(*cases, "import", "cases.csv")
    first, second = [each["case_id"] for each in (await shell.run(*cases, "--json")).json]
    shared = len([None for a, b in zip(first, second, strict=True) if a == b])
    assert shared < 16

    pinned = await shell.run(*cases, "pin", first[:10], "--json")
    several = await shell.run(*cases, "pin", "")
    none = await shell.run(*cases, "pin", "zz")

    assert pinned.json == {"pinned": [first]}
    assert several.exit_code == none.exit_code == 4
    assert "Not saved: zz" in none.err
