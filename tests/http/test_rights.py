"""Every route, with every right, on what is one's own and on what is another's.

A new route needs a row in `ROWS`: until it has one, a test here fails.
"""

import asyncio
import io
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from starlette.routing import Route
from tests.http.conftest import (
    ENTRIES,
    PATIENCE,
    RIGHTS,
    TOKENS,
    EvaluateTest,
    Note,
    bearer,
    readiness,
)

from evalqueue import Client, JobParams, Settings
from evalqueue.errors import JobNotFound
from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial import saved_cases
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.figures.reports import shares
from evalqueue.evaluators.formats.csv import COLUMNS
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreDeclaration, ScoreKind
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.trying.job_type import TryEvaluators
from evalqueue.evaluators.verdicts import Difficulty
from evalqueue.http.app import OPERATIONS, create_app
from evalqueue.http.routes import page
from evalqueue.http.server import serve
from evalqueue.jobs import Job, JobStatus
from evalqueue.postgres.database import Database
from evalqueue.postgres.rows import jsonb
from evalqueue.tokens import Right

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class Access(Enum):
    """Which callers may use a route, and for which objects."""

    OPEN = "no token is needed"
    ALL = "all callers with a token get the same"
    OWN_OR_404 = "one's own; another's is not found"
    OWN_OR_NOTHING = "one's own; of another's nothing is in the answer"
    CHANGES_OWN = "with the right to submit, one's own; another's is not found"
    SUBMITS = "with the right to submit"
    SUBMITS_OWN = "with the right to submit, about one's own; another's can't be named"
    NAMES_OWN = "as before, and it is in the answer"
    ADMINISTERS = "with the right admin"
    BY_LINK = "no token is needed, but a link; another one is not found"


ROWS: dict[tuple[str, str], Access] = {
    ("GET", "/"): Access.OPEN,
    ("GET", "/assets/{name}"): Access.OPEN,
    ("GET", "/healthz"): Access.OPEN,
    ("GET", "/readyz"): Access.OPEN,
    ("GET", "/openapi.json"): Access.OPEN,
    ("GET", "/metrics"): Access.ALL,
    ("POST", "/api/session"): Access.OPEN,
    ("GET", "/api/session"): Access.ALL,
    ("DELETE", "/api/session"): Access.ALL,
    ("POST", "/api/jobs"): Access.SUBMITS,
    ("GET", "/api/jobs"): Access.OWN_OR_NOTHING,
    ("GET", "/api/jobs/{job_id}"): Access.OWN_OR_404,
    ("GET", "/api/jobs/{job_id}/attempts"): Access.OWN_OR_404,
    ("POST", "/api/jobs/{job_id}/cancel"): Access.CHANGES_OWN,
    ("POST", "/api/jobs/{job_id}/retry"): Access.CHANGES_OWN,
    ("GET", "/api/jobs/{job_id}/events"): Access.OWN_OR_404,
    ("GET", "/api/events"): Access.OWN_OR_NOTHING,
    ("POST", "/api/datasets"): Access.SUBMITS,
    ("GET", "/api/datasets"): Access.OWN_OR_NOTHING,
    ("GET", "/api/datasets/{dataset_id}"): Access.OWN_OR_404,
    ("GET", "/api/datasets/{dataset_id}/threads"): Access.OWN_OR_404,
    ("DELETE", "/api/datasets/{dataset_id}"): Access.CHANGES_OWN,
    ("POST", "/api/threads"): Access.SUBMITS,
    ("POST", "/api/v1/traces"): Access.SUBMITS,
    ("GET", "/api/sources"): Access.OWN_OR_NOTHING,
    ("POST", "/api/eval-runs/preview"): Access.NAMES_OWN,
    ("GET", "/api/eval-runs"): Access.OWN_OR_NOTHING,
    ("GET", "/api/eval-runs/stats/summary"): Access.OWN_OR_NOTHING,
    ("GET", "/api/eval-runs/{run_id}"): Access.OWN_OR_404,
    ("GET", "/api/eval-runs/{run_id}/threads"): Access.OWN_OR_NOTHING,
    ("GET", "/api/eval-runs/{run_id}/logs"): Access.OWN_OR_NOTHING,
    ("GET", "/api/eval-runs/{run_id}/outcomes"): Access.OWN_OR_NOTHING,
    ("GET", "/api/eval-runs/{run_id}/trials"): Access.OWN_OR_NOTHING,
    ("GET", "/api/eval-runs/{run_id}/statistics"): Access.OWN_OR_404,
    ("GET", "/api/eval-runs/{run_id}/comparison/{baseline_id}"): Access.OWN_OR_404,
    ("GET", "/api/eval-runs/{run_id}/report"): Access.OWN_OR_404,
    ("POST", "/api/eval-runs/{run_id}/share"): Access.CHANGES_OWN,
    ("GET", "/api/eval-runs/{run_id}/share"): Access.CHANGES_OWN,
    ("DELETE", "/api/eval-runs/{run_id}/share/{share_id}"): Access.CHANGES_OWN,
    ("GET", "/shared/{token}"): Access.BY_LINK,
    ("GET", "/api/eval-runs/{run_id}/threads/{evaluation_id}"): Access.OWN_OR_404,
    ("GET", "/api/eval-runs/{run_id}/logs/{log_id}"): Access.OWN_OR_404,
    ("POST", "/api/labels"): Access.CHANGES_OWN,
    ("GET", "/api/eval-runs/{run_id}/labels"): Access.OWN_OR_404,
    ("GET", "/api/eval-runs/{run_id}/calibration"): Access.OWN_OR_404,
    ("POST", "/api/notes"): Access.CHANGES_OWN,
    ("GET", "/api/eval-runs/{run_id}/notes"): Access.OWN_OR_404,
    ("POST", "/api/annotation-queues"): Access.CHANGES_OWN,
    ("GET", "/api/eval-runs/{run_id}/annotation-queues"): Access.OWN_OR_404,
    ("GET", "/api/annotation-queues/{queue_id}"): Access.OWN_OR_404,
    ("POST", "/api/annotation-queues/next"): Access.CHANGES_OWN,
    ("POST", "/api/annotation-queues/label"): Access.CHANGES_OWN,
    ("POST", "/api/annotation-queues/release"): Access.CHANGES_OWN,
    ("GET", "/api/eval-runs/{run_id}/adversarial"): Access.OWN_OR_NOTHING,
    ("GET", "/api/eval-runs/{run_id}/adversarial/{case_id}"): Access.OWN_OR_404,
    ("GET", "/api/eval-runs/{run_id}/dialogues"): Access.OWN_OR_NOTHING,
    ("GET", "/api/adversarial/apps/{app_id}"): Access.ALL,
    ("GET", "/api/adversarial/cases"): Access.OWN_OR_NOTHING,
    ("POST", "/api/adversarial/cases"): Access.SUBMITS,
    ("POST", "/api/adversarial/cases/{app_id}/{case_id}/pin"): Access.ADMINISTERS,
    ("POST", "/api/adversarial/cases/{app_id}/{case_id}/unpin"): Access.ADMINISTERS,
    ("DELETE", "/api/adversarial/cases/{app_id}/{case_id}"): Access.CHANGES_OWN,
    ("GET", "/api/apps"): Access.OWN_OR_NOTHING,
    ("POST", "/api/apps"): Access.SUBMITS,
    ("GET", "/api/apps/{app_id}"): Access.OWN_OR_404,
    ("GET", "/api/app-draft"): Access.ALL,
    ("GET", "/api/datasets/{dataset_id}/app-draft"): Access.OWN_OR_404,
    ("DELETE", "/api/apps/{app_id}"): Access.CHANGES_OWN,
    ("GET", "/api/alerts"): Access.OWN_OR_NOTHING,
    ("POST", "/api/alerts"): Access.SUBMITS,
    ("DELETE", "/api/alerts/{alert_id}"): Access.CHANGES_OWN,
    ("POST", "/api/alerts/{alert_id}/test"): Access.CHANGES_OWN,
    ("GET", "/api/costs"): Access.OWN_OR_NOTHING,
    ("GET", "/api/evaluators"): Access.ALL,
    ("POST", "/api/evaluators/try"): Access.SUBMITS_OWN,
    ("GET", "/api/evaluators/tried/{job_id}"): Access.OWN_OR_404,
    ("GET", "/api/providers"): Access.ALL,
    ("GET", "/api/queues"): Access.ALL,
    ("POST", "/api/queues/{queue}/pause"): Access.ADMINISTERS,
    ("POST", "/api/queues/{queue}/resume"): Access.ADMINISTERS,
    ("GET", "/api/workers"): Access.ALL,
    ("GET", "/api/audit"): Access.ADMINISTERS,
}

HAVE_OWNERS = {
    Access.OWN_OR_404, Access.OWN_OR_NOTHING, Access.CHANGES_OWN, Access.NAMES_OWN,
    Access.SUBMITS_OWN,
}  # fmt: skip

EVENTS = ("GET", "/api/events")
"""An endless stream, which `watched` reads."""

MARK = "seven-locks"
"""In everything that a run has."""

NEEDED = {
    Access.CHANGES_OWN: Right.SUBMIT,
    Access.SUBMITS: Right.SUBMIT,
    Access.NAMES_OWN: Right.SUBMIT,
    Access.SUBMITS_OWN: Right.SUBMIT,
    Access.ADMINISTERS: Right.ADMIN,
}

COUNTED = re.compile(
    '"total_runs":[1-9],"total_threads_evaluated":1,"total_adversarial_tests":[1-9]'
)

CASE = Case(
    opening=f"I had two rotis {MARK}",
    expected_behavior="It asks when",
    difficulty=Difficulty.EASY,
    persona="easy",
)
ANSWER = f"{MARK},{MARK},s1,{MARK},{MARK},{MARK},2025-11-01T08:00:00Z,0"
APP = apps.from_document(
    {
        "app_id": MARK,
        "name": MARK,
        "about": "a bot",
        "intents": [{"name": "One", "description": "the only one"}],
        "query_types": [{"name": "ask", "description": "asks"}],
    },
    where=MARK,
)
EVALUATOR = EvaluatorDeclaration(
    name="manners",
    title="Manners",
    question=MARK,
    scores=(
        ScoreDeclaration(
            name="verdict", title="Verdict", kind=ScoreKind.CATEGORY, labels=("POLITE", "RUDE")
        ),
    ),
    headline="verdict",
    details_key="manners",
)
FILE = f"{','.join(COLUMNS[:8])}\n{ANSWER}\n".encode()
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/session"): {"token": TOKENS["rita"]},
    ("POST", "/api/jobs"): {"job_type": "note"},
    ("POST", "/api/apps"): {"document": apps.to_document(APP)},
    ("POST", "/api/v1/traces"): {"resourceSpans": []},
    ("POST", "/api/threads"): {
        "threads": [{"thread_id": "t", "messages": [{"role": "user", "content": "Hi", "id": "m"}]}]
    },
    ("POST", "/api/alerts"): {"name": "judge", "watches": "drift"},
    ("POST", "/api/adversarial/cases"): {
        "app_id": "kaira-bot",
        "cases": [{"opening": "Hi", "expected_behavior": "It greets", "persona": "easy"}],
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The objects of one owner."""

    client: Client
    job: Job
    tried: Job
    """A job that tried an evaluator, and was cancelled."""
    run_id: UUID
    dataset_id: str
    evaluation_id: int
    log_id: int
    queue_id: UUID
    """Of an annotation queue."""
    share_id: UUID
    """Of a link to the run's report."""
    alert_id: UUID

    def ids(self) -> dict[str, str]:
        return {
            "job_id": str(self.job.id),
            "run_id": str(self.run_id),
            "baseline_id": str(self.run_id),
            "dataset_id": self.dataset_id,
            "evaluation_id": str(self.evaluation_id),
            "log_id": str(self.log_id),
            "queue_id": str(self.queue_id),
            "share_id": str(self.share_id),
            "token": "evs_of-nobody",
            "alert_id": str(self.alert_id),
            "case_id": CASE.case_id,
            "app_id": "kaira-bot",
            "queue": "evalqueue",
            "name": "app.js",
        }


async def world_of(owner: str, database: Database) -> World:
    """Create a job with an attempt, a dataset, and a run with rows of every type, by the library,
    which checks no rights."""
    client = Client(database=database, settings=Settings(), job_types=[EvaluateTest, Note])
    job = await client.submit(EvaluateTest(app_id=MARK, name=MARK), owner=owner)
    run_id = UUID(str(job.progress.details["run_id"]))
    incoming = Incoming(file=io.BytesIO(FILE), name=MARK)
    added = await imports.add(database, incoming, owner=owner, kept=True)
    tried = await client.submit(
        TryEvaluators(dataset_id=added.dataset_id, evaluators=["intent"], llm_provider="simulated"),
        owner=owner,
    )
    await client.cancel(tried.id)
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO job_attempts (job_id, attempt, worker, error, ended_at, outcome)"
            " VALUES (%s, 1, 'w', %s, now(), 'failed')",
            [job.id, MARK],
        )
        await connection.execute(
            "UPDATE eval_runs SET dataset_id = %s, config = config || %s, status = 'completed',"
            " command = 'evaluate-batch', completed_at = now() WHERE id = %s",
            [
                added.dataset_id,
                jsonb({"evaluators": [EVALUATOR.model_dump(mode="json")]}),
                run_id,
            ],
        )
        made: list[int] = []
        for statement in (
            "INSERT INTO thread_evaluations (run_id, thread_id, worst_correctness, result,"
            f" attempt, duration_ms) VALUES (%s, '{MARK}', 'PASS', '{{}}', 1, 1) RETURNING id",
            "INSERT INTO adversarial_evaluations (run_id, case_id, trial, label, category,"
            " difficulty, persona, verdict, total_turns, stop_reason, result, attempt)"
            f" VALUES (%s, '{CASE.case_id}', 1, '{MARK}', 'typos', 'hard', 'hard', 'PASS', 2,"
            " 'goal_complete', '{}', 1) RETURNING id",
            "INSERT INTO adversarial_dialogues (run_id, case_id, trial, job_id, attempt)"
            f" SELECT id, '{MARK}', 1, job_id, 1 FROM eval_runs WHERE id = %s RETURNING 0",
            "INSERT INTO api_logs (run_id, thread_id, evaluator, provider, model, method, outcome,"
            " try_number, prompt, duration_ms, attempt, started_at) VALUES (%s,"
            f" '{MARK}', '{MARK}', 'openai', '{MARK}', 'x', 'ok', 1, '', 1, 1, now())"
            " RETURNING id",
        ):
            cursor = await connection.execute(statement, [run_id])
            made += [each for (each,) in await cursor.fetchall()]
        await connection.execute(
            "INSERT INTO scores (run_id, evaluation_id, thread_id, evaluator, version, name, kind,"
            f" value_text) VALUES (%s, %s, '{MARK}', 'manners', '1', 'verdict', 'category',"
            " 'POLITE')",
            [run_id, made[0]],
        )
        await connection.execute(
            "INSERT INTO labels (owner, dataset_id, thread_id, evaluator, name, label,"
            f" labelled_by, is_random) VALUES (%s, %s, '{MARK}', 'manners', 'verdict', 'RUDE',"
            " 'ann', true)",
            [owner, added.dataset_id],
        )
        await connection.execute(
            "INSERT INTO thread_notes (owner, dataset_id, thread_id, note, written_by)"
            f" VALUES (%s, %s, '{MARK}', 'Look at this', 'ann')",
            [owner, added.dataset_id],
        )
        cursor = await connection.execute(
            "INSERT INTO annotation_queues (owner, run_id, dataset_id, evaluator, name, selection,"
            " annotators) VALUES (%s, %s, %s, 'manners', 'verdict', 'random', 5) RETURNING id",
            [owner, run_id, added.dataset_id],
        )
        ((queue_id,),) = await cursor.fetchall()
        await connection.execute(
            f"INSERT INTO annotation_items VALUES (%s, 1, '{MARK}')", [queue_id]
        )
        run = await reading.get_run(connection, run_id)
        assert run is not None
        shared = await shares.add(connection, run, days=1)
        await connection.execute(
            "INSERT INTO source_positions (owner, source, name, last_at, thread_id)"
            f" VALUES (%s, '{MARK}', 'default', now(), '') ON CONFLICT DO NOTHING",
            [owner],
        )
        cursor = await connection.execute(
            "INSERT INTO alerts (owner, name, watches, app_id, webhook_url)"
            f" SELECT %s, gen_random_uuid(), 'drift', '{MARK}', 'http://localhost:9/'"
            " RETURNING id",
            [owner],
        )
        ((alert_id,),) = await cursor.fetchall()
        await adversarial_store.settle_cases(connection, run_id, [CASE], trials=1)
        await saved_cases.save(connection, "kaira-bot", [CASE], owner=owner, pinned=False)
    async with database.transaction() as connection:
        await app_store.add(connection, APP, owner=owner)
    return World(
        client=client,
        job=job,
        tried=tried,
        run_id=run_id,
        dataset_id=added.dataset_id,
        evaluation_id=made[0],
        log_id=made[-1],
        queue_id=queue_id,
        share_id=shared.share.id,
        alert_id=alert_id,
    )


def path_of(route: tuple[str, str], world: World) -> str:
    """The path of a route for the objects of a world."""
    own = {"app_id": MARK} if route[1].startswith("/api/apps/") else {}
    if route[1].startswith("/api/evaluators/tried/"):
        own = {"job_id": str(world.tried.id)}
    return route[1].format(**world.ids() | own)


def sent(route: tuple[str, str], ids: Mapping[str, str]) -> dict[str, Any]:
    """The body of a request."""
    run_id, dataset_id, queue_id = ids["run_id"], ids["dataset_id"], ids["queue_id"]
    tried = {"dataset_id": dataset_id, "evaluators": ["intent"], "llm_provider": "simulated"}
    said = {"thread_id": MARK, "evaluator": "manners", "value": "polite"}
    labels = [said | {"labelled_by": "bob", "is_random": True}]
    item = {"queue_id": queue_id, "labelled_by": "bob", "position": 1}
    bodies = BODIES | {
        ("POST", "/api/eval-runs/preview"): {"dataset_id": dataset_id},
        ("POST", "/api/evaluators/try"): tried,
        ("POST", "/api/eval-runs/{run_id}/share"): {"days": 1},
        ("POST", "/api/labels"): {"run_id": run_id, "labels": labels},
        ("POST", "/api/notes"): {"run_id": run_id, "thread_id": MARK, "note": "Look"},
        ("POST", "/api/annotation-queues"): {"run_id": run_id, "evaluator": "manners"},
        ("POST", "/api/annotation-queues/next"): item,
        ("POST", "/api/annotation-queues/label"): item | {"value": "rude"},
        ("POST", "/api/annotation-queues/release"): item | {"expires_at": "2026-01-31T08:00:00Z"},
    }
    if route == ("POST", "/api/datasets"):
        return {"files": {"file": ("june.csv", FILE)}}
    return {"json": bodies.get(route)}


async def watched(
    http: httpx.AsyncClient, world: World, name: str, *, after: str | None = None
) -> str:
    """The text of a stream of events up to the events of the watcher's own job that is submitted
    last."""
    headers = bearer(TOKENS[name]) | ({} if after is None else {b"Last-Event-ID": after.encode()})
    payload = ""
    assert (await readiness(http)).status_code == 200  # so that nothing was missed
    async with (
        asyncio.timeout(PATIENCE),
        http.stream("GET", EVENTS[1], headers=headers, timeout=PATIENCE) as reply,
    ):
        assert reply.status_code == 200, await reply.aread()
        await world.client.cancel(world.job.id)
        fence = str((await world.client.submit(Note(), owner=name)).id)
        async for text in reply.aiter_text():
            payload += text
            if f'"id":"{fence}"' in payload and f'"{fence}":' in payload:
                break
    return payload


def expected(access: Access, right: Right, *, own: bool) -> tuple[int, bool | None]:
    """The status, and whether what is asked for is in the answer; None: it says nothing of it."""
    sees = own or right is Right.ADMIN
    if not right.covers(NEEDED.get(access, Right.READ)):
        return 403, False
    if access is Access.BY_LINK:
        return 404, False
    if access is Access.OWN_OR_NOTHING:
        return 200, sees
    if access in HAVE_OWNERS and not sees:
        return 422 if access in {Access.NAMES_OWN, Access.SUBMITS_OWN} else 404, False
    return 200, True if access in {Access.OWN_OR_404, Access.NAMES_OWN} else None


async def state(database: Database) -> list[Any]:
    """All rows that a call could change."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT jsonb_agg(jobs ORDER BY id) FROM jobs),"
            " (SELECT jsonb_agg(saved_cases) FROM saved_cases),"
            " (SELECT jsonb_agg(job_queues) FROM job_queues),"
            " (SELECT jsonb_agg(dataset_owners) FROM dataset_owners),"
            " (SELECT count(*) FROM datasets),"
            " (SELECT jsonb_agg(app_versions ORDER BY owner, version) FROM app_versions),"
            " (SELECT count(*) FROM apps), (SELECT count(*) FROM labels),"
            " (SELECT count(*) FROM thread_notes),"
            " (SELECT count(*) FROM posted_messages), (SELECT count(*) FROM annotation_queues),"
            " (SELECT count(*) FROM annotation_leases), (SELECT count(*) FROM run_shares),"
            " (SELECT count(*) FROM alerts), (SELECT count(*) FROM alert_events),"
            " (SELECT count(*) FROM audit_log)"
        )
        return await cursor.fetchall()


PAGE = [("GET", "/"), ("GET", "/assets/{name}")]
"""One of the page's URLs, which all return the same document, and one of its files."""


def test_every_route_has_a_row(database: Database) -> None:
    app = create_app(Client(database=database))
    paths = [each.path for each in app.routes if isinstance(each, Route)]

    assert set(ROWS).difference(PAGE) == {(each.method, each.path) for each in OPERATIONS}
    assert len(paths) == len(app.routes)
    assert set(paths) == {each.path for each in (*OPERATIONS, *page.routes())}


@pytest.mark.parametrize("own", [True, False], ids=["own", "another's"])
@pytest.mark.parametrize("route", ROWS, ids=" ".join)
async def test_a_right_is_good_for_what_it_says(
    serve_api: ServeApi, database: Database, route: tuple[str, str], own: bool
) -> None:
    """One caller after the other, so that a server is started once for all."""
    async with serve_api(api_tokens=ENTRIES) as http:
        for name in ("rita", "sam", "ada"):
            world = await world_of(name if own else "otto", database)
            if route[1].endswith(("/retry", "{job_id}/events")):
                await world.client.cancel(world.job.id)  # the stream of a job that is over ends
            status, shown = expected(ROWS[route], RIGHTS[name], own=own)
            before = await state(database)
            if route == EVENTS:
                assert (MARK in await watched(http, world, name)) == shown, name
                continue
            reply = await http.request(
                route[0], path_of(route, world), headers=bearer(TOKENS[name]),
                **sent(route, world.ids()),
            )  # fmt: skip
            said = f"{name}: {reply.status_code} {reply.text}"
            assert reply.status_code in ((200, 201) if status == 200 else (status,)), said
            if shown is not None:
                assert bool(MARK in reply.text or COUNTED.search(reply.text)) == shown, said
            if status == 403:
                assert f"{name} has the right {RIGHTS[name]}" in reply.json()["detail"]
            if status != 200 or route[0] == "GET":
                assert await state(database) == before, said


@pytest.mark.parametrize("route", ROWS, ids=" ".join)
async def test_without_a_token_only_open_paths_answer(
    serve_api: ServeApi, database: Database, route: tuple[str, str]
) -> None:
    world = await world_of("otto", database)
    before = await state(database)
    async with serve_api(api_tokens=ENTRIES) as http:
        for headers in ({}, bearer("somebody-else's"), {b"Authorization": b"Bearer"}):
            reply = await http.request(
                route[0], path_of(route, world), headers=headers,
                **sent(route, world.ids()),
            )  # fmt: skip
            is_open = ROWS[route] in {Access.OPEN, Access.BY_LINK}
            assert (reply.status_code == 401) != is_open, reply.text
            assert MARK not in reply.text

    assert await state(database) == before


@pytest.mark.parametrize(
    "route", [each for each in ROWS if ROWS[each] in HAVE_OWNERS and each != EVENTS], ids=" ".join
)
async def test_anothers_is_as_if_it_were_not_there(
    serve_api: ServeApi, database: Database, route: tuple[str, str]
) -> None:
    """The status and the body are the same as for an object that does not exist."""
    world = await world_of("otto", database)
    nowhere = world.ids() | {
        "job_id": str(uuid4()),
        "run_id": str(uuid4()),
        "queue_id": str(uuid4()),
        "alert_id": str(uuid4()),
        "baseline_id": str(uuid4()),
        "dataset_id": f"sha256:{'0' * 64}",
    }
    async with serve_api(api_tokens=ENTRIES) as http:
        anothers, missing = [
            await http.request(
                route[0], route[1].format(**ids), headers=bearer(TOKENS["sam"]), **sent(route, ids)
            )
            for ids in (world.ids(), nowhere)
        ]

    assert anothers.status_code == missing.status_code
    assert without_ids(anothers.text, world.ids()) == without_ids(missing.text, nowhere)


async def test_what_is_in_anothers_run_is_not_in_ones_own(
    serve_api: ServeApi, database: Database
) -> None:
    """The ids of threads and calls are global, but valid only within their run."""
    others, own = await world_of("otto", database), await world_of("sam", database)
    async with serve_api(api_tokens=ENTRIES) as http:
        for path in (f"threads/{others.evaluation_id}", f"logs/{others.log_id}"):
            for run_id, name in ((own.run_id, "sam"), (own.run_id, "ada"), (others.run_id, "sam")):
                reply = await http.get(
                    f"/api/eval-runs/{run_id}/{path}", headers=bearer(TOKENS[name])
                )
                assert reply.status_code == 404
                assert MARK not in reply.text


async def test_a_stream_that_goes_on_tells_nothing_of_others_either(
    serve_api: ServeApi, database: Database
) -> None:
    world, another = await world_of("otto", database), await world_of("otto", database)
    async with serve_api(api_tokens=ENTRIES) as http:
        payload = await watched(http, world, "ada")
        first = payload.partition("id: ")[2].partition("\n")[0]
        again = await watched(http, another, "sam", after=first)

    assert str(world.job.id) in payload
    assert "event: resync" not in again
    for each in (world, another):
        assert str(each.job.id) not in again
    assert "otto" not in again


def without_ids(text: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        text = text.replace(value, name)
    return text


async def test_what_is_submitted_belongs_to_who_submits_it(serve_api: ServeApi) -> None:
    body = {"job_type": "evaluate-test", "params": {"app_id": "x"}}
    async with serve_api(api_tokens=ENTRIES) as http:
        for name in ("sam", "ada"):
            job = (await http.post("/api/jobs", json=body, headers=bearer(TOKENS[name]))).json()
            seen = await http.get(f"/api/jobs/{job['id']}", headers=bearer(TOKENS[name]))
            run = await http.get(f"/api/eval-runs/{job['run_id']}", headers=bearer(TOKENS[name]))
            assert (seen.json()["owner"], run.json()["owner"]) == (name, name)


async def test_without_tokens_what_is_submitted_is_the_defaults(api: httpx.AsyncClient) -> None:
    job = (await api.post("/api/jobs", json={"job_type": "note"})).json()

    assert (await api.get(f"/api/jobs/{job['id']}")).json()["owner"] == "default"


async def test_a_job_that_an_admin_retries_keeps_its_owner(
    serve_api: ServeApi, database: Database
) -> None:
    world = await world_of("sam", database)
    await world.client.cancel(world.job.id)
    path = f"/api/jobs/{world.job.id}/retry"
    async with serve_api(api_tokens=ENTRIES) as http:
        assert (await http.post(path, headers=bearer(TOKENS["otto"]))).status_code == 404
        new = (await http.post(path, headers=bearer(TOKENS["ada"]))).json()
        again = (await http.post(path, headers=bearer(TOKENS["sam"]))).json()
        assert (await http.post(path, headers=bearer(TOKENS["otto"]))).status_code == 404

    assert again["id"] == new["id"]
    assert (await world.client.get(UUID(new["id"]))).owner == "sam"


async def test_the_same_idempotency_key_of_two_callers_is_two_jobs(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        ids: list[str] = []
        for name, text in (("sam", "one"), ("otto", "two"), ("sam", "one")):
            body = {"job_type": "note", "params": {"text": text}}
            headers = bearer(TOKENS[name]) | {b"Idempotency-Key": b"k"}
            ids.append((await http.post("/api/jobs", json=body, headers=headers)).json()["id"])

    assert ids[0] == ids[2] != ids[1]


async def test_cases_of_anothers_run_can_not_be_saved(
    serve_api: ServeApi, database: Database
) -> None:
    world = await world_of("otto", database)
    body = {"app_id": "kaira-bot", "from_run": str(world.run_id), "case_ids": [CASE.case_id]}
    async with serve_api(api_tokens=ENTRIES) as http:
        for name, status in (("sam", 422), ("otto", 201), ("ada", 201)):
            reply = await http.post(
                "/api/adversarial/cases", json=body, headers=bearer(TOKENS[name])
            )
            assert reply.status_code == status, reply.text


@pytest.mark.parametrize("named", [{}, {"from_run_cases": [CASE.case_id]}], ids=["all", "named"])
async def test_cases_of_anothers_run_can_not_be_put_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any]
) -> None:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    world = await world_of("otto", database)
    async with database.connection() as connection:
        await connection.execute("UPDATE adversarial_evaluations SET verdict = 'HARD FAIL'")
    settings = Settings(port=0, api_tokens=ENTRIES)
    client = Client(database=database, settings=settings, job_types=[EvaluateAdversarial])
    refused: set[str] = set()
    async with (
        serve(client) as at,
        httpx.AsyncClient(base_url=at.url, trust_env=False, timeout=PATIENCE) as http,
    ):

        async def submit(run_id: UUID, name: str) -> httpx.Response:
            params = {"from_run": str(run_id), "test_count": 0, **named}
            body = {"job_type": "evaluate-adversarial", "params": params}
            return await http.post("/api/jobs", json=body, headers=bearer(TOKENS[name]))

        for name in ("otto", "ada"):
            assert (await submit(world.run_id, name)).status_code == 201
        for run_id in (world.run_id, uuid4()):
            reply = await submit(run_id, "sam")
            assert reply.status_code == 422, reply.text
            refused.add(reply.text.replace(str(run_id), "it"))
    assert len(refused) == 1
    assert "from_run" in refused.pop()


async def test_only_an_admin_keeps_a_case_pinned(serve_api: ServeApi) -> None:
    body = BODIES["POST", "/api/adversarial/cases"] | {"pinned": True}
    async with serve_api(api_tokens=ENTRIES) as http:
        for name, status in (("sam", 403), ("ada", 201)):
            reply = await http.post(
                "/api/adversarial/cases", json=body, headers=bearer(TOKENS[name])
            )
            assert reply.status_code == status


async def test_the_library_sees_everything_without_an_owner(database: Database) -> None:
    world = await world_of("otto", database)
    client, job_id = world.client, world.job.id

    own = [world.tried.id, job_id]  # the newest first
    assert [each.id for each in await client.list()] == own
    assert [each.id for each in await client.list(owner="otto")] == own
    assert await client.list(owner="sam") == []
    assert await client.attempts(job_id, owner="sam") == []
    for refused in (client.get, client.cancel, client.retry):
        with pytest.raises(JobNotFound):
            await refused(job_id, owner="sam")
    await client.cancel(job_id, owner="otto")
    assert (await client.get(job_id)).status is JobStatus.CANCELLED


async def test_an_upload_does_not_reveal_that_others_have_the_file(
    serve_api: ServeApi, database: Database
) -> None:
    await world_of("otto", database)
    async with serve_api(api_tokens=ENTRIES) as http:
        for name, status in (("sam", 201), ("sam", 200), ("otto", 200), ("ada", 201)):
            reply = await http.post(
                "/api/datasets", files={"file": ("a.csv", FILE)}, headers=bearer(TOKENS[name])
            )
            assert (reply.status_code, reply.json()["owner"]) == (status, name)


async def test_a_dataset_that_is_not_read_yet_can_be_named_by_its_owner(
    serve_api: ServeApi, database: Database
) -> None:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT evalqueue_submit_job('evaluate-batch', jsonb_build_object('csv_content',"
            " %s::text), owner => 'sam')",
            [FILE.decode()],
        )
        await cursor.fetchone()
        cursor = await connection.execute("SELECT id FROM datasets")
        body = {"dataset_id": (await cursor.fetchone() or (None,))[0]}
    async with serve_api(api_tokens=ENTRIES) as http:
        for name, status in (("otto", 422), ("sam", 200)):
            reply = await http.post(
                "/api/eval-runs/preview", json=body, headers=bearer(TOKENS[name])
            )
            assert reply.status_code == status, reply.text
            assert (MARK in reply.text) == (name == "sam")


class OfTheirOwn(JobParams, job_type="of-their-own"):
    """Says `dataset_id` and means something else."""

    dataset_id: str


async def test_what_another_job_type_calls_a_dataset_is_its_own_business(
    database: Database,
) -> None:
    world = await world_of("otto", database)
    settings = Settings(port=0, api_tokens=ENTRIES)
    client = Client(database=database, settings=settings, job_types=[OfTheirOwn])
    async with (
        serve(client) as at,
        httpx.AsyncClient(base_url=at.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        for dataset_id, status in (("june", 201), ("", 201), (world.dataset_id, 422)):
            body = {"job_type": "of-their-own", "params": {"dataset_id": dataset_id}}
            reply = await http.post("/api/jobs", json=body, headers=bearer(TOKENS["sam"]))
            assert reply.status_code == status, reply.text
