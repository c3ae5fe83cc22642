"""Apps: chatbots described as data, with the rules by which they are judged.

An app is one document: everything that the evaluators know about a chatbot. A new app is a new
document in the database (`store`) and no code. The TOML files in this directory are shipped as
read-only examples. A document with mistakes is refused as a whole, and each mistake is reported:
otherwise a misspelt key would silently change verdicts.
"""

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from pydantic import TypeAdapter, ValidationError

from evalqueue.errors import Problem
from evalqueue.evaluators.apps.app import (
    App,
    Bounds,
    EfficiencyCriteria,
    Label,
    MealSummary,
    Rule,
    Scope,
    ThreadKind,
)
from evalqueue.evaluators.apps.mistakes import app_mistakes, type_mistakes

__all__ = [
    "App",
    "Bounds",
    "EfficiencyCriteria",
    "InvalidApp",
    "Label",
    "MealSummary",
    "Rule",
    "Scope",
    "ThreadKind",
    "UnknownApp",
    "from_document",
    "known",
    "load",
    "parse",
    "path_of",
    "to_document",
]


class UnknownApp(LookupError):
    """There is no app with this app_id."""


def path_of(problem: Problem) -> str:
    """Where in a document a mistake is: `rules.0.scopes`. Empty: it is the whole document."""
    return ".".join(map(str, problem.loc))


class InvalidApp(ValueError):
    """An app's document is invalid."""

    def __init__(self, where: str, problems: Sequence[Problem], *, what: str = "an app") -> None:
        lines = [": ".join(filter(None, (path_of(each), each.msg))) for each in problems]
        super().__init__("\n".join([f"{where} is not {what}:", *lines]))
        self.problems = tuple(problems)
        """Each has the path in the document, and what to do. An empty path: the whole document."""


@cache
def load(app_id: str) -> App:
    """A shipped app.

    Raises:
        UnknownApp: none has this app_id.
    """
    if app_id not in known():  # this also refuses an app_id that is a path
        raise UnknownApp(f"There is no app {app_id!r}. Known: {', '.join(known())}.")
    file = files(__name__) / f"{app_id}.toml"
    app = parse(file.read_text(encoding="utf-8"), where=file.name)
    if app.app_id != app_id:
        raise ValueError(f"{file.name}: app_id is {app.app_id!r}, not the file's name.")
    return app


def known() -> tuple[str, ...]:
    """The app_ids of the shipped apps."""
    names = (file.name for file in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def parse(text: str, *, where: str) -> App:
    """An app from its TOML. `where` names the source in errors.

    Raises:
        InvalidApp: with every mistake.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidApp(where, [Problem(loc=(), msg=str(error))], what="TOML") from error
    return from_document(document, where=where)


def from_document(document: object, *, where: str) -> App:
    """An app from its parsed document.

    Raises:
        InvalidApp: with every mistake.
    """
    try:
        app = _app().validate_python(document)
    except ValidationError as error:
        raise InvalidApp(where, type_mistakes(error)) from error
    if found := list(app_mistakes(app)):
        raise InvalidApp(where, found)
    return app


def to_document(app: App, *, with_defaults: bool = True) -> dict[str, object]:
    """An app as JSON. Without defaults, it has only what differs from them, as people write it."""
    return _app().dump_python(
        app, mode="json", exclude_defaults=not with_defaults, exclude_none=not with_defaults
    )


# Made when first used: many commands read no app, and would start later by its time.
@cache
def _app() -> TypeAdapter[App]:
    return TypeAdapter(App)
