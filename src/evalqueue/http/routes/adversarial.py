"""Stress tests: what they found, what is being said, who the difficult users are, and the cases
worth keeping. They are submitted as all jobs are.

Saved cases are nobody's own. Anybody who may submit may keep one; what changes the runs of others
(pinning, forgetting) is an admin's business.
"""

import asyncio
from collections.abc import Iterable, Iterator

from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from evalqueue.errors import Problem
from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial import findings, store
from evalqueue.evaluators.adversarial.cases.case import Case, InvalidCase, distinct, misfit
from evalqueue.evaluators.adversarial.chatbot import stressed
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps.adversarial import Adversarial
from evalqueue.http.callers import Call
from evalqueue.http.models import adversarial as json
from evalqueue.http.operations import AnyOperation, InvalidRequest, Operation
from evalqueue.postgres.database import Database
from evalqueue.tokens import Right


async def get_run_adversarial(
    call: Call, asked: json.AdversarialQuery
) -> json.AdversarialEvaluations:
    async with (await call.client.database()).connection() as connection:
        page = await findings.evaluations(
            connection,
            asked.run_id,
            owner=call.caller.sees,
            after=asked.after,
            limit=asked.limit,
        )
        total = await findings.count(connection, asked.run_id, owner=call.caller.sees)
    evaluations = [json.AdversarialEvaluation.model_validate(row) for row in page]
    return json.AdversarialEvaluations(run_id=asked.run_id, evaluations=evaluations, total=total)


async def get_run_case(call: Call, asked: json.CaseOfRun) -> json.CaseTrials:
    async with (await call.client.database()).connection() as connection:
        owner = call.caller.sees
        case = await findings.case(connection, asked.run_id, asked.case_id, owner=owner)
        trials = await findings.trials(connection, asked.run_id, asked.case_id, owner=owner)
    if case is None:
        raise HTTPException(404, "Case not found")
    return json.CaseTrials(
        run_id=asked.run_id,
        case_id=asked.case_id,
        case=json.Case.model_validate(case),
        evaluations=[json.AdversarialEvaluation.model_validate(row) for row in trials],
    )


async def get_run_dialogues(call: Call, asked: json.RunId) -> json.Dialogues:
    async with (await call.client.database()).connection() as connection:
        found = await findings.live(connection, asked.run_id, owner=call.caller.sees)
    return json.Dialogues(run_id=asked.run_id, dialogues=[json.Dialogue.of(row) for row in found])


async def get_stress_profile(_call: Call, asked: json.AppId) -> json.StressProfile:
    try:
        profile, app = _known(asked.app_id)
    except UnknownApp as error:
        raise HTTPException(404, str(error)) from error
    return json.StressProfile.of(profile, app)


async def list_saved_cases(call: Call, asked: json.SavedCasesQuery) -> list[json.SavedCase]:
    async with (await call.client.database()).connection() as connection:
        found = await store.saved_page(
            connection,
            app_id=asked.app_id,
            only_pinned=asked.pinned,
            limit=asked.limit,
            offset=asked.offset,
        )
    return [json.SavedCase.model_validate(each) for each in found]


async def save_cases(call: Call, asked: json.SaveCases) -> list[json.SavedCase]:
    if asked.pinned:
        call.must_have(Right.ADMIN)
    try:
        _, app = _known(asked.app_id)
    except UnknownApp as error:
        raise _refused("app_id", str(error)) from error
    database = await call.client.database()
    if asked.cases:
        cases = await asyncio.to_thread(_written, asked, app)
    else:
        cases = await _put_before(database, asked, app, call.caller.sees)
    async with database.connection() as connection:
        await store.save(connection, asked.app_id, cases, pinned=asked.pinned)
        kept = await store.saved_named(connection, asked.app_id, [case.case_id for case in cases])
    return [json.SavedCase.model_validate(each) for each in kept]


async def pin_case(call: Call, asked: json.SavedCaseId) -> json.PinnedCase:
    return await _pinned(call, asked, pinned=True)


async def unpin_case(call: Call, asked: json.SavedCaseId) -> json.PinnedCase:
    return await _pinned(call, asked, pinned=False)


async def forget_case(call: Call, asked: json.SavedCaseId) -> json.ForgottenCase:
    async with (await call.client.database()).connection() as connection:
        if not await store.unsave(connection, asked.app_id, [asked.case_id]):
            raise HTTPException(404, "Case not found")
    return json.ForgottenCase(app_id=asked.app_id, case_id=asked.case_id)


async def _pinned(call: Call, asked: json.SavedCaseId, *, pinned: bool) -> json.PinnedCase:
    async with (await call.client.database()).connection() as connection:
        if not await store.pin(connection, asked.app_id, [asked.case_id], pinned=pinned):
            raise HTTPException(404, "Case not found")
    return json.PinnedCase(app_id=asked.app_id, case_id=asked.case_id, pinned=pinned)


def _known(app_id: str) -> tuple[App, Adversarial]:
    """An app that has difficult users.

    Raises:
        UnknownProfile: it is not known, or nobody has said who they are.
    """
    profile = apps.load(app_id)
    return profile, stressed(profile)


def _written(asked: json.SaveCases, app: Adversarial) -> list[Case]:
    if asked.from_run is not None or asked.case_ids:
        raise _refused("from_run", "Either cases, or from_run with case_ids: not both")
    problems: list[Problem] = []
    cases: list[Case] = []
    for number, each in enumerate(asked.cases):
        try:
            cases.append(each.to_case(app))
        except InvalidCase as error:
            problems += _faults(number, error)
    if problems:
        raise InvalidRequest(problems)
    return distinct(cases)


def _faults(number: int, error: InvalidCase) -> Iterator[Problem]:
    for field, reason in error.faults:
        yield Problem(loc=("body", "cases", number, field), msg=reason)


async def _put_before(
    database: Database, asked: json.SaveCases, app: Adversarial, sees: str | None
) -> list[Case]:
    if asked.from_run is None:
        raise _refused("cases", "What is to be kept? cases, or from_run with case_ids")
    if not asked.case_ids:
        raise _refused("case_ids", "Which cases of the run?")
    async with database.connection() as connection:
        found = await store.cases_of(connection, asked.from_run, asked.case_ids, owner=sees)
    missing = set(asked.case_ids) - {case.case_id for case in found}
    if missing:
        shown = ", ".join(sorted(missing)[:10])
        raise _refused("case_ids", f"Not in run {asked.from_run}: {shown}")
    if problems := await asyncio.to_thread(lambda: [*_misfits(found, asked, app)]):
        raise InvalidRequest(problems)
    return found


def _misfits(cases: Iterable[Case], asked: json.SaveCases, app: Adversarial) -> Iterator[Problem]:
    """The run may be of another app, or its app's profile have changed since."""
    for case in cases:
        if reason := misfit(case, app):
            number = asked.case_ids.index(case.case_id)
            msg = f"The case {case.case_id} does not fit {asked.app_id}: {reason}"
            yield Problem(loc=("body", "case_ids", number), msg=msg)


def _refused(field: str, msg: str) -> InvalidRequest:
    return InvalidRequest([Problem(loc=("body", field), msg=msg)])


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/adversarial",
        tag="stress tests",
        summary="A run's adversarial cases, in the order they were finished",
        asks=json.AdversarialQuery,
        tells=TypeAdapter(json.AdversarialEvaluations),
        answer=get_run_adversarial,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/adversarial/{case_id}",
        tag="stress tests",
        summary="A case of a run, with all its finished trials",
        asks=json.CaseOfRun,
        tells=TypeAdapter(json.CaseTrials),
        answer=get_run_case,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/dialogues",
        tag="stress tests",
        summary="A run's conversations that have no verdict yet, with what was said so far",
        asks=json.RunId,
        tells=TypeAdapter(json.Dialogues),
        answer=get_run_dialogues,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/adversarial/profiles/{app_id}",
        tag="stress tests",
        summary="The difficult users of an app, by the names that a job can choose",
        asks=json.AppId,
        tells=TypeAdapter(json.StressProfile),
        answer=get_stress_profile,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path="/api/adversarial/cases",
        tag="stress tests",
        summary="Saved cases, oldest first",
        asks=json.SavedCasesQuery,
        tells=TypeAdapter(list[json.SavedCase]),
        answer=list_saved_cases,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/adversarial/cases",
        tag="stress tests",
        summary="Keep cases: written out, or taken from a run",
        asks=json.SaveCases,
        in_body=True,
        tells=TypeAdapter(list[json.SavedCase]),
        answer=save_cases,
        status=201,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/adversarial/cases/{app_id}/{case_id}/pin",
        tag="stress tests",
        summary="Make a saved case part of every later run of its app",
        asks=json.SavedCaseId,
        tells=TypeAdapter(json.PinnedCase),
        answer=pin_case,
        needs=Right.ADMIN,
        errors=(404, 503),
    ),
    Operation(
        method="POST",
        path="/api/adversarial/cases/{app_id}/{case_id}/unpin",
        tag="stress tests",
        summary="Keep a saved case for when it is asked for",
        asks=json.SavedCaseId,
        tells=TypeAdapter(json.PinnedCase),
        answer=unpin_case,
        needs=Right.ADMIN,
        errors=(404, 503),
    ),
    Operation(
        method="DELETE",
        path="/api/adversarial/cases/{app_id}/{case_id}",
        tag="stress tests",
        summary="Forget a saved case; runs keep theirs",
        asks=json.SavedCaseId,
        tells=TypeAdapter(json.ForgottenCase),
        answer=forget_case,
        needs=Right.ADMIN,
        errors=(404, 503),
    ),
)
