"""Adversarial tests: their results, their conversations in progress, the simulated users of an app,
and saved cases. The tests are submitted as jobs.

Callers who may submit jobs may save cases, and delete their own. What is pinned is part of the runs
of others: pinning, and what concerns the cases of others, needs the right `admin`.
"""

import asyncio
from collections.abc import Iterable, Iterator

from starlette.exceptions import HTTPException

from evalqueue.errors import Problem
from evalqueue.evaluators.adversarial import findings, saved_cases, store
from evalqueue.evaluators.adversarial.cases.case import Case, InvalidCase, distinct, misfit
from evalqueue.evaluators.adversarial.chatbot import difficult_users
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import adversarial as models
from evalqueue.http.models.fields import RunId
from evalqueue.http.operations import Operation
from evalqueue.http.uploads import InvalidRequest
from evalqueue.postgres.database import Connection
from evalqueue.tokens import Right


async def get_run_adversarial(
    context: RequestContext, request: models.AdversarialQuery
) -> models.AdversarialEvaluations:
    async with context.connection() as connection:
        page = await findings.evaluations(
            connection,
            request.run_id,
            owner=context.caller.visible_owner,
            after=request.after,
            limit=request.limit,
        )
        total = await findings.count(connection, request.run_id, owner=context.caller.visible_owner)
    evaluations = [_shown(context, row) for row in page]
    return models.AdversarialEvaluations(
        run_id=request.run_id, evaluations=evaluations, total=total
    )


async def get_run_case(context: RequestContext, request: models.CaseOfRun) -> models.CaseTrials:
    async with context.connection() as connection:
        owner = context.caller.visible_owner
        case = await findings.case(connection, request.run_id, request.case_id, owner=owner)
        trials = await findings.trials(connection, request.run_id, request.case_id, owner=owner)
    if case is None:
        raise HTTPException(404, "Case not found")
    return models.CaseTrials(
        run_id=request.run_id,
        case_id=request.case_id,
        case=models.CaseJson.model_validate(case),
        evaluations=[_shown(context, row) for row in trials],
    )


async def get_run_dialogues(context: RequestContext, request: RunId) -> models.Dialogues:
    async with context.connection() as connection:
        rows = await findings.live(connection, request.run_id, owner=context.caller.visible_owner)
    with_quotes = _sees_quotes(context)
    dialogues = [models.DialogueJson.of(row, with_quotes=with_quotes) for row in rows]
    return models.Dialogues(run_id=request.run_id, dialogues=dialogues)


async def get_adversarial_app(
    context: RequestContext, request: models.AppId
) -> models.AdversarialApp:
    try:
        app, adversarial = await _load(context, request.app_id)
    except UnknownApp as error:
        raise HTTPException(404, str(error)) from error
    return models.AdversarialApp.of(app, adversarial)


async def list_saved_cases(
    context: RequestContext, request: models.SavedCasesQuery
) -> list[models.SavedCaseJson]:
    async with context.connection() as connection:
        cases = await saved_cases.saved_page(
            connection,
            app_id=request.app_id,
            owner=context.caller.visible_owner,
            only_pinned=request.pinned,
            limit=request.limit,
            offset=request.offset,
        )
    return [models.SavedCaseJson.model_validate(each) for each in cases]


async def save_cases(
    context: RequestContext, request: models.SaveCases
) -> list[models.SavedCaseJson]:
    if request.pinned:
        context.require(Right.ADMIN)
    try:
        _, adversarial = await _load(context, request.app_id)
    except UnknownApp as error:
        raise _invalid("app_id", str(error)) from error
    if request.cases:
        cases = await asyncio.to_thread(_cases_of_request, request, adversarial)
    else:
        cases = await _cases_of_run(context, request, adversarial)
    case_ids = [case.case_id for case in cases]
    owner = context.caller.name
    async with context.connection() as connection:
        try:
            await saved_cases.save(
                connection, request.app_id, cases, owner=owner, pinned=request.pinned
            )
        except saved_cases.TooManyCases as error:
            raise _invalid("cases", str(error)) from error
        saved = await saved_cases.saved_named(
            connection, request.app_id, case_ids, owner=owner, first_owner=owner
        )
    return [models.SavedCaseJson.model_validate(each) for each in saved]


async def pin_case(context: RequestContext, request: models.SavedCaseId) -> models.PinnedCase:
    return await _set_pinned(context, request, pinned=True)


async def unpin_case(context: RequestContext, request: models.SavedCaseId) -> models.PinnedCase:
    return await _set_pinned(context, request, pinned=False)


async def delete_case(context: RequestContext, request: models.SavedCaseId) -> models.DeletedCase:
    is_admin = context.caller.right.covers(Right.ADMIN)
    if not is_admin:
        if request.owner not in (None, context.caller.name):
            raise HTTPException(404, "There is no such case of yours")
        request = request.model_copy(update={"owner": context.caller.name})
    async with context.connection() as connection:
        owners = await _owners(context, connection, request)
        if not await saved_cases.unsave(connection, request.app_id, owners, pinned_too=is_admin):
            raise HTTPException(404, "There is no such case of yours that is not pinned")
    return models.DeletedCase(
        app_id=request.app_id, case_id=request.case_id, owner=owners[request.case_id]
    )


def _shown(context: RequestContext, row: findings.AdversarialRow) -> models.AdversarialEvaluation:
    return models.AdversarialEvaluation.of(row, with_quotes=_sees_quotes(context))


def _sees_quotes(context: RequestContext) -> bool:
    """Whether the caller sees what a chatbot sent instead of an answer. It may come from a service
    that is no chatbot, which a job was aimed at."""
    return context.caller.right.covers(Right.ADMIN)


async def _set_pinned(
    context: RequestContext, request: models.SavedCaseId, *, pinned: bool
) -> models.PinnedCase:
    async with context.connection() as connection:
        owners = await _owners(context, connection, request)
        try:
            await saved_cases.pin(connection, request.app_id, owners, pinned=pinned)
        except saved_cases.CasesDiffer as error:
            raise InvalidRequest([Problem(loc=("path", "case_id"), msg=str(error))]) from error
    return models.PinnedCase(
        app_id=request.app_id,
        case_id=request.case_id,
        owner=owners[request.case_id],
        pinned=pinned,
    )


async def _owners(
    context: RequestContext, connection: Connection, request: models.SavedCaseId
) -> dict[str, str]:
    """Whose saved case is meant, by its id.

    Raises:
        HTTPException: 404, if there is none.
        InvalidRequest: several owners have saved it.
    """
    try:
        owners = await saved_cases.owners_of_saved(
            connection,
            request.app_id,
            [request.case_id],
            owner=request.owner,
            first_owner=context.caller.name,
        )
    except saved_cases.OwnerNeeded as error:
        raise InvalidRequest([Problem(loc=("query", "owner"), msg=str(error))]) from error
    if not owners:
        raise HTTPException(404, "Case not found")
    return owners


async def _load(context: RequestContext, app_id: str) -> tuple[App, DifficultUsers]:
    """An app of the caller, and its part about adversarial tests.

    Raises:
        UnknownApp: it does not exist, or has no such part.
    """
    async with context.connection() as connection:
        stored = await app_store.find(
            connection,
            app_id,
            owner=context.caller.visible_owner,
            first_owner=context.caller.name,
        )
    return stored.app, difficult_users(stored.app)


def _cases_of_request(request: models.SaveCases, adversarial: DifficultUsers) -> list[Case]:
    if request.from_run is not None or request.case_ids:
        raise _invalid("from_run", "Either cases, or from_run with case_ids: not both")
    problems: list[Problem] = []
    cases: list[Case] = []
    for number, each in enumerate(request.cases):
        try:
            cases.append(each.to_case(adversarial))
        except InvalidCase as error:
            problems += _problems(number, error)
    if problems:
        raise InvalidRequest(problems)
    return distinct(cases)


def _problems(number: int, error: InvalidCase) -> Iterator[Problem]:
    for field, reason in error.faults:
        yield Problem(loc=("body", "cases", number, field), msg=reason)


async def _cases_of_run(
    context: RequestContext, request: models.SaveCases, adversarial: DifficultUsers
) -> list[Case]:
    if request.from_run is None:
        raise _invalid("cases", "Missing: either cases, or from_run with case_ids")
    if not request.case_ids:
        raise _invalid("case_ids", "Missing: the cases of the run to save")
    owner = context.caller.visible_owner
    async with context.connection() as connection:
        cases = await store.cases_of(connection, request.from_run, request.case_ids, owner=owner)
    missing = set(request.case_ids) - {case.case_id for case in cases}
    if missing:
        shown = ", ".join(sorted(missing)[:10])
        raise _invalid("case_ids", f"Not in run {request.from_run}: {shown}")
    if problems := await asyncio.to_thread(lambda: [*_misfits(cases, request, adversarial)]):
        raise InvalidRequest(problems)
    return cases


def _misfits(
    cases: Iterable[Case], request: models.SaveCases, adversarial: DifficultUsers
) -> Iterator[Problem]:
    """Cases that don't fit the app: the run may be of another app, or the app has changed since."""
    for case in cases:
        if reason := misfit(case, adversarial):
            number = request.case_ids.index(case.case_id)
            msg = f"The case {case.case_id} does not fit {request.app_id}: {reason}"
            yield Problem(loc=("body", "case_ids", number), msg=msg)


def _invalid(field: str, msg: str) -> InvalidRequest:
    return InvalidRequest([Problem(loc=("body", field), msg=msg)])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/adversarial",
        tag="adversarial tests",
        summary="A run's adversarial cases, in the order they were finished",
        handler=get_run_adversarial,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/adversarial/{case_id}",
        tag="adversarial tests",
        summary="A case of a run, with all its finished trials",
        handler=get_run_case,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/dialogues",
        tag="adversarial tests",
        summary="A run's conversations that have no verdict yet, with their messages so far",
        handler=get_run_dialogues,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/adversarial/apps/{app_id}",
        tag="adversarial tests",
        summary="The simulated users of an app, by the names that a job can choose",
        handler=get_adversarial_app,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/adversarial/cases",
        tag="adversarial tests",
        summary="The caller's saved cases and pinned ones, oldest first",
        handler=list_saved_cases,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/adversarial/cases",
        tag="adversarial tests",
        summary="Save cases: from the request, or from a run",
        in_body=True,
        handler=save_cases,
        status=201,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/adversarial/cases/{app_id}/{case_id}/pin",
        tag="adversarial tests",
        summary="Make a saved case part of every later run of its app",
        handler=pin_case,
        required_right=Right.ADMIN,
        errors=(404, 503),
    ),
    Operation(
        method="POST",
        path="/api/adversarial/cases/{app_id}/{case_id}/unpin",
        tag="adversarial tests",
        summary="Make a saved case part of a run only if a job names it",
        handler=unpin_case,
        required_right=Right.ADMIN,
        errors=(404, 503),
    ),
    Operation(
        method="DELETE",
        path="/api/adversarial/cases/{app_id}/{case_id}",
        tag="adversarial tests",
        summary="Delete a saved case of one's own; runs keep theirs",
        handler=delete_case,
        errors=(404, 503),
    ),
)
