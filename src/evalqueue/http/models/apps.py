"""The JSON of apps."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from evalqueue import codec
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import documents
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.apps.mistakes import APP_ID, APP_ID_WORDS
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.runs.params import DatasetId
from evalqueue.http.models.fields import AppName, Model, Moment, Offset
from evalqueue.problems import Written

Owner = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(codec.clean_text)]

# Requests


class AppsQuery(Model):
    limit: int = Field(200, ge=1, le=1000)
    """Of stored apps; the shipped ones always come, too."""
    offset: Offset = 0


class AppKey(Model):
    app_id: AppName
    owner: Owner | None = None
    """Whose app, for administrators. Default: the caller's, else anybody's."""


class AppQuery(AppKey):
    version: int | None = Field(None, ge=1, le=2**31 - 1)
    """Default: the newest."""
    since: int | None = Field(None, ge=1, le=2**31 - 1)
    """Another version, for `changes`."""


class DraftQuery(Model):
    """What a new app is called."""

    app_id: Annotated[str, Written(APP_ID, APP_ID_WORDS)] | None = None
    """Default: from the name of the dataset."""


class DatasetDraftQuery(DraftQuery):
    dataset_id: str = Field(max_length=100)


class AddApp(Model):
    """An app: as a JSON object, or as text."""

    document: dict[str, Any] | None = None
    text: str | None = Field(None, max_length=documents.MAX_BYTES)
    notation: Notation = Notation.TOML
    """How `text` is written."""
    dataset_id: DatasetId | None = None
    """A dataset of the caller that uses this app from now on, where a job names none."""
    only_check: bool = False
    """Whether nothing is to be stored."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.document is None) is (self.text is None):
            raise ValueError("Give the app as document, a JSON object, or as text: one of the two")
        return self


# Responses


class KnownApp(Model):
    """An app that can be evaluated."""

    app_id: str
    name: str
    about: str
    evaluators: list[str]
    """Those that have something to say about it."""
    has_adversarial: bool
    """Whether it can be tested with difficult users."""
    owner: str | None
    """Null: it is shipped, read-only, and everybody sees it."""
    version: int | None
    """Of the owner's app, from 1. Null: it is shipped."""
    digest: str
    """Of its content, which runs freeze."""
    created_at: Moment | None

    @classmethod
    def of(cls, stored: StoredApp) -> Self:
        app = stored.app
        return cls(
            app_id=app.app_id,
            name=app.name,
            about=app.about.strip(),
            evaluators=[kind.name for kind in registry.for_app(app)],
            has_adversarial=app.difficult_users is not None,
            owner=stored.owner,
            version=stored.version,
            digest=stored.digest,
            created_at=stored.created_at,
        )


class AppVersionJson(Model):
    version: int
    digest: str
    created_at: Moment


class AppJson(KnownApp):
    """An app with its document."""

    document: dict[str, Any]
    """Without what is the default."""
    toml: str
    """The same, as people write it."""
    yaml: str
    versions: list[AppVersionJson]
    """Newest first. None: it is shipped."""
    changes: list[str] | None
    """How it differs from the version `since`, a line for each change. Null: none was named."""

    @classmethod
    def with_versions(
        cls, stored: StoredApp, versions: list[StoredApp], since: StoredApp | None = None
    ) -> Self:
        return cls(
            **dict(KnownApp.of(stored)),
            document=apps.to_document(stored.app, with_defaults=False),
            toml=documents.to_toml(stored.app),
            yaml=documents.to_yaml(stored.app),
            versions=[AppVersionJson.model_validate(each) for each in versions],
            changes=None if since is None else _changes(since, stored),
        )


class AppDraft(Model):
    """A document to start from, as TOML with comments. It is valid as it is."""

    app_id: str
    toml: str


class DeletedApp(Model):
    """An app that was removed from its owner's apps. Runs that used it keep its content."""

    app_id: str
    owner: str
    deleted: bool = True


def _changes(old: StoredApp, new: StoredApp) -> list[str]:
    return documents.changes(
        *(apps.to_document(each.app, with_defaults=False) for each in (old, new))
    )
