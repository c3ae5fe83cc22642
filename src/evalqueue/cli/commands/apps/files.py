"""Documents of apps in files."""

import sys
from dataclasses import dataclass
from pathlib import Path

from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import Refused
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, InvalidApp, documents
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.documents import MAX_BYTES, Notation
from evalqueue.evaluators.judging import registry

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadApp:
    """A document from a file, or why it is none."""

    app: App | None
    error: InvalidApp | None


def check(file: str, *, as_json: bool) -> ExitCode:
    """Print every mistake in a document.

    Returns:
        USAGE if there is one, else DONE.
    """
    found = read_app(file)
    if found.app is None:
        return print_refused(file, found.error, as_json=as_json)
    digest = documents.digest(found.app)
    app_id = found.app.app_id
    if as_json:
        console.print_json({"file": file, "app_id": app_id, "digest": digest, "problems": []})
    else:
        console.print_data(f"{file}: {app_id} is valid: {counts_of(found.app)}")
    return ExitCode.DONE


def read_app(file: str) -> ReadApp:
    """The document in a file, or on stdin.

    Raises:
        Refused: it can't be read at all.
    """
    notation = Notation.TOML if file == STDIN else documents.notation_of(file)
    if notation is None:
        raise Refused(f"{file}: the name must end in .toml, .yaml, .yml or .json")
    try:
        if file == STDIN:
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(MAX_BYTES + 1)
        app = documents.read(raw.decode("utf-8-sig"), notation, where=file)
        app_store.check_name(app)
        registry.check(app)
    except InvalidApp as error:
        return ReadApp(app=None, error=error)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"Can't read {file}: {error}") from error
    return ReadApp(app=app, error=None)


def print_refused(file: str, error: InvalidApp | None, *, as_json: bool) -> ExitCode:
    """Print why a document is not an app."""
    problems = error.problems if error else ()
    if as_json:
        console.print_json({"file": file, "problems": [each.as_json() for each in problems]})
    for each in () if as_json else problems:
        where = ": ".join(filter(None, (file, apps.path_of(each))))
        console.print_message(f"{where}: {each.msg}")
    return ExitCode.USAGE


def counts_of(app: App) -> str:
    """What an app has, in words."""
    counted = (
        (app.intents, "intents"), (app.query_types, "query types"),
        (app.thread_types, "thread types"), (app.rules, "rules"),
        (app.definitions, "evaluators"),
    )  # fmt: skip
    return ", ".join(f"{noun}: {len(each)}" for each, noun in counted)
