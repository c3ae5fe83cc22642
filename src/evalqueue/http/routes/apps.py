"""Apps. Callers see the shipped apps and their own; administrators see all."""

from starlette.exceptions import HTTPException

from evalqueue.errors import Problem
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, InvalidApp, UnknownApp, documents, drafts
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.lines import with_lines
from evalqueue.evaluators.apps.store import AddedApp, StoredApp
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging import registry
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import apps as models
from evalqueue.http.operations import Operation, WithStatus
from evalqueue.http.uploads import InvalidRequest
from evalqueue.postgres.database import Connection

_NEW_APP = "my-app"


async def list_apps(context: RequestContext, request: models.AppsQuery) -> list[models.KnownApp]:
    async with context.connection() as connection:
        stored = await app_store.list_apps(
            connection,
            owner=context.caller.visible_owner,
            limit=request.limit,
            offset=request.offset,
        )
    shipped = [app_store.shipped(app_id) for app_id in apps.known()]
    return [models.KnownApp.of(each) for each in (*shipped, *stored)]


async def get_app(context: RequestContext, request: models.AppQuery) -> models.AppJson:
    async with context.connection() as connection:
        stored = await _visible(connection, context, request, version=request.version)
        since = None
        if request.since is not None:
            since = await _visible(connection, context, request, version=request.since)
        return await _with_versions(connection, stored, since)


async def get_app_draft(context: RequestContext, request: models.DraftQuery) -> models.AppDraft:
    app_id = request.app_id or _NEW_APP
    return models.AppDraft(app_id=app_id, toml=drafts.starter(app_id))


async def get_dataset_app_draft(
    context: RequestContext, request: models.DatasetDraftQuery
) -> models.AppDraft:
    async with context.connection() as connection:
        dataset = await datasets.get(
            connection, request.dataset_id, owner=context.caller.visible_owner
        )
    if dataset is None:
        raise HTTPException(404, "Dataset not found")
    app_id = request.app_id or drafts.id_from(dataset.name)
    draft = drafts.from_labels(app_id, dataset.intents, source=dataset.name)
    return models.AppDraft(app_id=app_id, toml=draft.as_toml())


async def add_app(context: RequestContext, request: models.AddApp) -> WithStatus[models.AppJson]:
    try:
        app = _read(request)
        registry.check(app)
        if request.only_check:
            app_store.check_name(app)
            stored = app_store.not_stored(app)
            return WithStatus(body=models.AppJson.with_versions(stored, []), status=200)
        async with (await context.client.database()).transaction() as connection:
            added: AddedApp = await app_store.add(connection, app, owner=context.caller.name)
            await _use(connection, context, request, added.stored)
            body = await _with_versions(connection, added.stored)
    except InvalidApp as error:
        field, problems = "document", list(error.problems)
        if request.text is not None:
            field, problems = "text", with_lines(problems, request.text, request.notation)
        raise InvalidRequest([each.within("body", field) for each in problems]) from error
    return WithStatus(body=body, status=201 if added.is_new else 200)


async def delete_app(context: RequestContext, request: models.AppKey) -> models.DeletedApp:
    async with (await context.client.database()).transaction() as connection:
        stored = await _visible(connection, context, request)
        if stored.owner is None:
            raise HTTPException(409, f"{stored.app_id} is shipped: it can't be removed")
        if not await app_store.remove(connection, stored.app_id, owner=stored.owner):
            raise HTTPException(404, "App not found")
    return models.DeletedApp(app_id=stored.app_id, owner=stored.owner)


async def _use(
    connection: Connection, context: RequestContext, request: models.AddApp, stored: StoredApp
) -> None:
    """Let the dataset that is named use the app from now on."""
    if request.dataset_id is None:
        return
    if not await app_store.set_of_dataset(
        connection, request.dataset_id, stored.app_id, owner=context.caller.name
    ):
        msg = f"There is no dataset {request.dataset_id}"
        raise InvalidRequest([Problem(loc=("body", "dataset_id"), msg=msg)])


async def _visible(
    connection: Connection,
    context: RequestContext,
    request: models.AppKey,
    *,
    version: int | None = None,
) -> StoredApp:
    sees = context.caller.visible_owner
    if request.owner is not None and sees not in (None, request.owner):
        raise HTTPException(404, "App not found")
    try:
        return await app_store.find(
            connection,
            request.app_id,
            owner=request.owner or sees,
            first_owner=context.caller.name,
            version=version,
        )
    except UnknownApp as error:
        raise HTTPException(404, "App not found") from error


async def _with_versions(
    connection: Connection, stored: StoredApp, since: StoredApp | None = None
) -> models.AppJson:
    versions: list[StoredApp] = []
    if stored.owner is not None:
        versions = await app_store.versions(connection, stored.app_id, owner=stored.owner)
    return models.AppJson.with_versions(stored, versions, since)


def _read(request: models.AddApp) -> App:
    if request.text is not None:
        return documents.read(request.text, request.notation, where="text")
    return documents.from_document(request.document, where="document")


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/apps",
        tag="apps",
        summary="The apps that can be evaluated: the shipped ones, then stored ones",
        handler=list_apps,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/apps",
        tag="apps",
        summary="Store an app, or a new version of it",
        in_body=True,
        handler=add_app,
        status=201,
        other_statuses=(200,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/app-draft",
        tag="apps",
        summary="A document to start an app from",
        handler=get_app_draft,
    ),
    Operation(
        method="GET",
        path="/api/datasets/{dataset_id}/app-draft",
        tag="apps",
        summary="A document to start an app from, with the labels that a dataset records",
        handler=get_dataset_app_draft,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/apps/{app_id}",
        tag="apps",
        summary="One app with its document",
        handler=get_app,
        errors=(404, 503),
    ),
    Operation(
        method="DELETE",
        path="/api/apps/{app_id}",
        tag="apps",
        summary="Remove an app from the caller's apps",
        handler=delete_app,
        errors=(404, 409, 503),
    ),
)
