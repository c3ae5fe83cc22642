"""The definitions of evaluators: of the catalogue, and of an app."""

from evalqueue.cli.commands.apps.stored import find_app
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.text import one_line
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.definitions.definition import EvaluatorDefinition, Example
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.defined.texts import shown_output
from evalqueue.evaluators.judging.registry import Origin


async def list_evaluators(app_name: str | None, *, as_json: bool) -> ExitCode:
    """Print the evaluators that are installed, those of an app, and the catalogue."""
    app = await _app(app_name)
    if app is None:
        return ExitCode.NOT_FOUND
    found = [
        {
            "name": kind.name,
            "title": kind.declaration.title,
            "origin": origin.value,
            "kind": kind.declaration.headline_score.kind.value,
            "question": kind.declaration.question,
        }
        for origin, kind in registry.choices(app)
        if app_name is not None or origin is not Origin.APP
    ]
    if as_json:
        console.print_json(found)
    else:
        headings = ("name", "from", "verdict", "question")
        console.print_table(
            headings, [(e["name"], e["origin"], e["kind"], e["question"]) for e in found]
        )
    return ExitCode.DONE


async def show(name: str, app_name: str | None, *, as_json: bool) -> ExitCode:
    """Print a definition as it can stand in an app's document."""
    found = await _definition(name, app_name)
    if found is None:
        return ExitCode.NOT_FOUND
    if as_json:
        console.print_json(catalogue.to_document(found))
    else:
        console.print_data(catalogue.to_toml(found).rstrip("\n"))
    return ExitCode.DONE


async def gold(name: str, app_name: str | None, *, as_json: bool) -> ExitCode:
    """Print the gold cases of a definition: conversations, and the right verdict on each."""
    found = await _definition(name, app_name)
    if found is None:
        return ExitCode.NOT_FOUND
    if as_json:
        console.print_json(catalogue.to_document(found).get("gold", []))
        return ExitCode.DONE
    console.print_message(shown_output(found.output))
    for number, case in enumerate(found.gold, start=1):
        console.print_data(f"\n{number}. {case.verdict}: {case.reasoning}")
        for line in _lines(case):
            console.print_data(line)
    return ExitCode.DONE


def _lines(case: Example) -> list[str]:
    found: list[str] = []
    for turn in case.turns:
        parts = {"system": turn.system, "user": turn.user, "context": turn.context}
        calls = {
            f"tool {call.name}": f"{call.arguments} → {call.result}" for call in turn.tool_calls
        }
        for who, text in (parts | calls | {"bot": turn.bot}).items():
            if text is not None:
                found.append(f"   {who}: {one_line(text, 1_000)}")
    return found


async def _definition(name: str, app_name: str | None) -> EvaluatorDefinition | None:
    """A definition by its name. None: there is none, which was printed."""
    app = await _app(app_name)
    if app is None:
        return None
    own = () if app_name is None else app.definitions
    found = next((each for each in own if each.name == name), None)
    if found is None and name in catalogue.names():
        found = catalogue.load(name)
    if found is None:
        what = (
            f"{name} is not a definition, but code"
            if name in registry.installed()
            else f"There is no evaluator {name}"
        )
        console.print_message(f"{what}. To list them: evalqueue evaluators --app APP")
    return found


async def _app(name: str | None) -> App | None:
    """The app of a file or a name; without one, any. None: there is none, which was printed."""
    if name is None:
        return apps.load(apps.known()[0])
    async with open_client() as client, (await client.database()).connection() as connection:
        try:
            return await find_app(connection, name)
        except UnknownApp as error:
            console.print_message(str(error))
            return None
