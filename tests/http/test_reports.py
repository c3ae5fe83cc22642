"""Reports of runs over HTTP, and links that show them without a token."""

import asyncio
import io
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from html.parser import HTMLParser
from typing import Any, LiteralString
from uuid import UUID, uuid4

import httpx
import pytest
from tests.http.conftest import ENTRIES, TOKENS, bearer

from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.figures.reports import document, shares
from evalqueue.evaluators.figures.reports.content import WORST_MAX
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.evaluators.statistics.intervals import wilson
from evalqueue.http.guards.sessions import GUESSES
from evalqueue.postgres.database import Database
from evalqueue.postgres.rows import jsonb

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

EVIL = "<script>alert(1)</script><img src=//evil.example onerror=alert(1)>\"'&{{ 7 * 7 }}"
TONE = EvaluatorDeclaration(
    name="tone",
    title=f"Tone {EVIL}",
    question=f"Is it polite? {EVIL}",
    scores=(
        ScoreDeclaration(
            name="verdict", title="Verdict", kind=ScoreKind.CATEGORY,
            labels=("POLITE", "COLD", "RUDE"), good=("POLITE",), bad=("RUDE",),
        ),
        ScoreDeclaration(
            name="greets", title="Greets", kind=ScoreKind.BOOLEAN, per_turn=True,
            higher_is_better=True,
        ),
    ),
    headline="verdict",
    details_key="tone",
)  # fmt: skip
RUDE, POLITE, FAILED = 25, 10, 5
"""How many conversations of the run were judged so."""


class Tags(HTMLParser):
    """The tags of a document with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


async def execute(database: Database, statement: LiteralString, *arguments: Any) -> list[Any]:
    async with database.connection() as connection:
        cursor = await connection.execute(statement, arguments)
        return await cursor.fetchall() if cursor.description else []


async def run_of(owner: str, database: Database) -> UUID:
    """A run that is over, in which everything that is written is hostile."""
    threads = [f"{number:02} {EVIL}" for number in range(RUDE + POLITE + FAILED)]
    rows = ["thread_id,input,response"]
    for thread in threads:
        quoted = thread.replace('"', '""')
        said = EVIL.replace('"', '""')
        rows.append(f'"{quoted}","{said}","answer {said}"')
    file = io.BytesIO("\n".join(rows).encode())
    added = await imports.add(database, Incoming(file=file, name="a.csv"), owner=owner, kept=True)
    run_id = uuid4()
    await execute(
        database,
        "INSERT INTO eval_runs (id, command, owner, name, description, app_id, llm_provider,"
        " llm_model, data_path, dataset_id, config, status, started_at, completed_at)"
        " VALUES (%s, 'evaluate-batch', %s, %s, %s, %s, 'openai', %s, %s, %s, %s, 'completed',"
        " now(), now())",
        run_id, owner, f"June {EVIL}", EVIL, EVIL, EVIL, f"/srv/secret-folder/{EVIL}.csv",
        added.dataset_id, jsonb({"evaluators": [TONE.model_dump(mode="json")]}),
    )  # fmt: skip
    for number, thread in enumerate(threads):
        failed = number >= RUDE + POLITE
        failures = [{"evaluator": "tone", "reason": "timeout", "message": EVIL, "turn": None}]
        coverage = {"tone": {"judged": int(not failed), "attempted": 1}}
        result = {"failures": failures if failed else [], "coverage": coverage}
        ((evaluation_id,),) = await execute(
            database,
            "INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms)"
            " VALUES (%s, %s, %s, 1, 0) RETURNING id",
            run_id, thread, jsonb(result),
        )  # fmt: skip
        value = None if failed else "RUDE" if number < RUDE else "POLITE"
        evidence = [{"turn": 1, "quote": EVIL, "in_transcript": False}, 7, {"quote": None}]
        await execute(
            database,
            "INSERT INTO scores (run_id, evaluation_id, thread_id, evaluator, version, name, kind,"
            " value_text, evidence, reasoning, failure) VALUES (%s, %s, %s, 'tone', 'v1',"
            " 'verdict', 'category', %s, %s, %s, %s)",
            run_id, evaluation_id, thread, value, jsonb(evidence), f"Because {EVIL}",
            "timeout" if failed else None,
        )  # fmt: skip
        await execute(
            database,
            "INSERT INTO scores (run_id, evaluation_id, thread_id, turn, evaluator, version, name,"
            " kind, value_boolean, reasoning) VALUES (%s, %s, %s, 1, 'tone', 'v1', 'greets',"
            " 'boolean', false, 'no greeting')",
            run_id, evaluation_id, thread,
        )  # fmt: skip
    return run_id


@pytest.fixture
async def run_id(database: Database) -> UUID:
    return await run_of("sam", database)


@pytest.fixture
async def http(serve_api: ServeApi) -> AsyncGenerator[httpx.AsyncClient]:
    async with serve_api(api_tokens=ENTRIES) as http:
        yield http


SAM, OTTO, ADA, RITA = (bearer(TOKENS[name]) for name in ("sam", "otto", "ada", "rita"))


async def shared(http: httpx.AsyncClient, run_id: UUID, **body: Any) -> dict[str, Any]:
    reply = await http.post(f"/api/eval-runs/{run_id}/share", json=body, headers=SAM)
    assert reply.status_code == 201, reply.text
    return reply.json()


def path_of(link: dict[str, Any]) -> str:
    return httpx.URL(link["url"]).path


async def test_a_report_says_what_the_figures_say(http: httpx.AsyncClient, run_id: UUID):
    reply = await http.get(f"/api/eval-runs/{run_id}/report", headers=SAM)

    assert reply.status_code == 200, reply.text
    text = " ".join(Tags(reply.text).text.split())
    low, high = (f"{each * 100:.1f}" for each in wilson(POLITE / 35, 35))
    assert f"Good: 28.6 % ({low} % to {high} %) of 35, by the judge alone. uncalibrated" in text
    assert "0 of the 30 random labels that a correction needs" in text
    assert "Judged: 35 of 40 (87.5 %)" in text
    assert "35 measured in 35 conversations; 5 not judged" in text
    assert "20 of 25 shown" in text
    assert f"tone timeout {EVIL} 5" in text
    assert "RUDE 25 71.4 %" in text
    assert text.count(f"Because {EVIL}") == WORST_MAX
    assert "no greeting" in text
    assert "not in the conversation" in text
    assert "secret-folder" not in reply.text
    assert str(run_id) in text


async def test_a_report_is_one_file_that_does_nothing(http: httpx.AsyncClient, run_id: UUID):
    reply = await http.get(f"/api/eval-runs/{run_id}/report", headers=SAM)

    tags = Tags(reply.text)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "form", "a", "base"}
    for tag, attributes in tags.found:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        assert not {"href", "src", "srcset", "action"} & set(attributes), tag
    assert EVIL in tags.text
    assert reply.headers["content-type"] == document.MEDIA_TYPE
    policy = reply.headers["content-security-policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none';"
        r" frame-ancestors 'none'",
        policy,
    )
    (in_file,) = [a["content"] for t, a in tags.found if a.get("http-equiv")]
    assert policy.startswith(str(in_file))
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["x-robots-tag"] == "noindex, nofollow"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-disposition"] == (
        f'inline; filename="evalqueue-report-{str(run_id)[:8]}.html"'
    )


async def adversarial_run(database: Database) -> UUID:
    run_id = uuid4()
    await execute(
        database,
        "INSERT INTO eval_runs (id, command, owner, status, completed_at)"
        " VALUES (%s, 'evaluate-adversarial', 'sam', 'completed', now())",
        run_id,
    )
    for number in range(1, 31):
        exchange = {
            "number": 1,
            "message": {"text": EVIL, "sent": f"sent {EVIL}", "by": "case"},
            "sent_at": "2026-01-01T00:00:00Z",
            "fault": {"fault": "unreadable", "message": "no JSON", "quote": "quoted page"},
        }
        judge = {
            "reasoning": f"Because {EVIL}", "failure_modes": [], "goal_verdicts": [],
            "rule_compliance": [{"rule_id": "confirm", "status": "VIOLATED"}],
            "evidence": [{"turn": 1, "quote": EVIL, "in_transcript": True}],
            "first_failing_turn": 1,
        }  # fmt: skip
        result = {
            "transcript": [exchange],
            "judge": judge,
            "derived": {"contradictions": []},
            "failures": [],
            "test_case": {"traits": ["mixed"], "goals": []},
        }
        verdict = "PASS" if number <= 6 else "CRITICAL" if number == 30 else "HARD FAIL"
        await execute(
            database,
            "INSERT INTO adversarial_evaluations (run_id, case_id, trial, label, category,"
            " difficulty, persona, verdict, total_turns, stop_reason, result, attempt)"
            " VALUES (%s, %s, 1, %s, 'typos', 'hard', 'hard', %s, 1, 'max_turns', %s, 1)",
            run_id, f"case {number}", f"{number} {EVIL}", verdict, jsonb(result),
        )  # fmt: skip
    return run_id


async def test_an_adversarial_test_has_a_report(http: httpx.AsyncClient, database: Database):
    run_id = await adversarial_run(database)

    reply = await http.get(f"/api/eval-runs/{run_id}/report", headers=SAM)

    assert reply.status_code == 200, reply.text
    tags = Tags(reply.text)
    text = " ".join(tags.text.split())
    assert "<script" not in reply.text
    assert "<img" not in reply.text
    assert "The chatbot failed in 80 %" in text
    assert "HARD FAIL 23 76.7 %" in text
    assert "20 of 24 shown" in text
    assert text.index(f"30 {EVIL}") < text.index(f"7 {EVIL}"), "the worst first"
    assert text.count(f"Because {EVIL}") == WORST_MAX
    assert f"sent {EVIL}" in text
    assert "Rules violated: confirm" in text
    assert "quoted page" not in text


async def test_long_texts_and_conversations_are_cut_and_that_is_said(
    http: httpx.AsyncClient, run_id: UUID, database: Database
):
    turns = [
        {"number": number, "timestamp": "2026-01-01T00:00:00Z", "user_text": "<" * 10_000,
         "bot_text": "b"}
        for number in range(1, 31)
    ]  # fmt: skip
    await execute(database, "UPDATE dataset_threads SET turns = %s", jsonb(turns))

    reply = await http.get(f"/api/eval-runs/{run_id}/report", headers=SAM)

    assert len(reply.text) < 10_000_000
    text = Tags(reply.text).text
    assert "… (8,000 more characters)" in text
    assert "The first 20 of 30 turns" in " ".join(text.split())


async def test_there_is_no_report_of_another_s_run_nor_of_another_kind(
    http: httpx.AsyncClient, run_id: UUID, database: Database
):
    path = f"/api/eval-runs/{run_id}/report"
    assert (await http.get(path, headers=OTTO)).status_code == 404
    assert (await http.get(path, headers=RITA)).status_code == 404
    assert (await http.get(path, headers=ADA)).status_code == 200
    await execute(database, "UPDATE eval_runs SET command = 'evaluate-test'")
    for reply in (
        await http.get(path, headers=SAM),
        await http.post(f"/api/eval-runs/{run_id}/share", json={}, headers=SAM),
    ):
        (problem,) = reply.json()["detail"]
        assert (reply.status_code, problem["loc"]) == (422, ["path", "run_id"])
        assert "reports of evaluate-batch and evaluate-adversarial only" in problem["msg"]


async def test_a_run_that_has_not_begun_has_a_report(http: httpx.AsyncClient, database: Database):
    run_id = uuid4()
    await execute(
        database,
        "INSERT INTO eval_runs (id, command, owner) VALUES (%s, 'evaluate-batch', 'sam')",
        run_id,
    )

    reply = await http.get(f"/api/eval-runs/{run_id}/report", headers=SAM)

    assert reply.status_code == 200
    assert "This run goes on" in reply.text
    assert "No conversation has a bad label." in reply.text


async def test_a_link_shows_this_report_and_nothing_else(
    http: httpx.AsyncClient, run_id: UUID, database: Database
):
    link = await shared(http, run_id, days=3)
    http.cookies.clear()

    seen = await http.get(path_of(link))
    own = await http.get(f"/api/eval-runs/{run_id}/report", headers=SAM)

    def bare(text: str) -> str:
        return re.sub(r"made \S+ \S+ UTC", "", text)

    host, port = http.base_url.host, http.base_url.port
    assert link["url"].startswith(f"http://{host}:{port}/shared/evs_")
    assert seen.status_code == 200
    assert bare(seen.text) == bare(own.text)
    assert dict(seen.headers) | {"date": ""} == dict(own.headers) | {"date": ""}
    token = path_of(link).rsplit("/", 1)[1]
    for path in (f"/api/eval-runs/{run_id}", f"/api/eval-runs/{run_id}/report", "/api/jobs"):
        assert (await http.get(path, headers=bearer(token))).status_code == 401
    stored = await execute(database, "SELECT * FROM run_shares")
    assert token not in str(stored)
    ((days,),) = await execute(
        database, "SELECT extract(day FROM expires_at - created_at) FROM run_shares"
    )
    assert days in {2, 3}


async def test_wrong_expired_and_revoked_links_are_the_same(
    http: httpx.AsyncClient, run_id: UUID, database: Database
):
    expired, revoked, gone = [await shared(http, run_id) for _ in range(3)]
    await execute(
        database,
        "UPDATE run_shares SET created_at = now() - interval '9 days',"
        " expires_at = now() - interval '1 second' WHERE id = %s",
        expired["id"],
    )
    done = await http.delete(f"/api/eval-runs/{run_id}/share/{revoked['id']}", headers=SAM)
    listed = (await http.get(f"/api/eval-runs/{run_id}/share", headers=SAM)).json()
    assert (done.status_code, done.json()["id"]) == (200, revoked["id"])
    assert [each["id"] for each in listed["shares"]] == [gone["id"]]
    assert "evs_" not in str(listed)
    again = await http.delete(f"/api/eval-runs/{run_id}/share/{revoked['id']}", headers=SAM)
    assert again.status_code == 404
    assert (await http.get(path_of(gone))).status_code == 200
    await execute(database, "DELETE FROM eval_runs WHERE id = %s", run_id)
    assert await execute(database, "SELECT FROM run_shares") == []

    paths = [path_of(expired), path_of(revoked), path_of(gone), "/shared/evs_none", "/shared/%00"]
    replies = [await http.get(path) for path in paths]

    assert {each.status_code for each in replies} == {404}
    assert len({each.text for each in replies}) == 1
    assert len({str({**each.headers, "date": ""}) for each in replies}) == 1


async def test_only_the_owner_or_an_administrator_manages_links(
    http: httpx.AsyncClient, run_id: UUID
):
    path, link = f"/api/eval-runs/{run_id}/share", await shared(http, run_id)
    for headers, status in ((OTTO, 404), (RITA, 403)):
        assert (await http.post(path, json={}, headers=headers)).status_code == status
        assert (await http.get(path, headers=headers)).status_code == status
        revoked = await http.delete(f"{path}/{link['id']}", headers=headers)
        assert revoked.status_code == status
    assert (await http.post(path, json={"days": 90}, headers=ADA)).status_code == 201
    assert len((await http.get(path, headers=ADA)).json()["shares"]) == 2
    for days in (0, 91, 1.5, True, "x", None):
        assert (await http.post(path, json={"days": days}, headers=SAM)).status_code == 422


async def test_a_run_has_a_bounded_number_of_links(
    http: httpx.AsyncClient, run_id: UUID, monkeypatch: pytest.MonkeyPatch, database: Database
):
    monkeypatch.setattr(shares, "MAX_SHARES", 2)
    await shared(http, run_id)
    await shared(http, run_id)
    full = await http.post(f"/api/eval-runs/{run_id}/share", json={}, headers=SAM)
    assert (full.status_code, "2 links already" in full.text) == (409, True)
    await execute(
        database,
        "UPDATE run_shares SET created_at = now() - interval '9 days',"
        " expires_at = now() - interval '1 second'",
    )
    await shared(http, run_id)
    assert await execute(database, "SELECT count(*) FROM run_shares") == [(1,)]


async def test_guesses_of_links_come_to_an_end(http: httpx.AsyncClient, run_id: UUID):
    link = await shared(http, run_id)
    replies = [await http.get(f"/shared/evs_{number}") for number in range(2 * GUESSES.amount)]
    statuses = [each.status_code for each in replies]
    assert statuses[: GUESSES.amount] == [404] * GUESSES.amount
    assert statuses[-1] == 429
    assert int(replies[-1].headers["retry-after"]) >= 1
    assert (await http.get(path_of(link))).status_code == 200, "others may share the address"


async def test_a_link_works_under_a_path(serve_api: ServeApi, run_id: UUID):
    async with serve_api(api_tokens=ENTRIES, root_path="/judge") as http:
        link = await shared(http, run_id)
        assert path_of(link).startswith("/judge/shared/evs_")
        url = httpx.URL(link["url"])
        assert (await http.get(url)).status_code == 200
        stripped = url.copy_with(path=url.path.removeprefix("/judge"))
        assert (await http.get(stripped)).status_code == 200


async def test_a_link_has_the_address_that_the_page_has(http: httpx.AsyncClient, run_id: UUID):
    path = f"/api/eval-runs/{run_id}/share"
    headers = {**SAM, b"Host": b"eval.example", b"Origin": b"https://eval.example"}
    reply = await http.post(path, json={}, headers=headers)
    assert reply.json()["url"].startswith("https://eval.example/shared/")


async def test_a_token_of_a_link_is_in_no_log(
    http: httpx.AsyncClient, run_id: UUID, caplog: pytest.LogCaptureFixture, database: Database
):
    link = await shared(http, run_id)
    token = path_of(link).rsplit("/", 1)[1]
    with caplog.at_level(logging.DEBUG):
        assert (await http.get(path_of(link))).status_code == 200
        await execute(database, "ALTER TABLE run_shares RENAME TO elsewhere")
        broken = await http.get(path_of(link))
        await execute(database, "ALTER TABLE elsewhere RENAME TO run_shares")
        await asyncio.sleep(0)
    assert broken.status_code in {500, 503}
    # uvicorn's own access log is off: it has no handler but that of this test.
    ours = [e for e in caplog.records if e.name.startswith(("evalqueue", "uvicorn.error"))]
    assert any("/shared/{token}" in each.getMessage() for each in ours)
    said = [f"{each.getMessage()} {each.exc_text} {vars(each)}" for each in ours]
    assert not [each for each in said if token in each]
    metrics = await http.get("/metrics", headers=ADA)
    assert token not in metrics.text
