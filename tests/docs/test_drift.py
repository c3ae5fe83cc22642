"""What the documents say and the code knows better: compared, so that it can't drift apart."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
import typer.main
from pydantic_settings import BaseSettings

import evalqueue
from evalqueue.cli import main
from evalqueue.daemon import ALL_SETTINGS
from evalqueue.evaluators.alerts.webhook import WebhookSettings
from evalqueue.evaluators.batch.economy.settings import EconomySettings
from evalqueue.evaluators.caps.limits import CapSettings
from evalqueue.evaluators.chatbots.targets import ChatbotSettings
from evalqueue.evaluators.pace.limits import PaceSettings
from evalqueue.evaluators.prices.price_list import PriceSettings
from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.evaluators.sources.settings import SourceSettings
from evalqueue.http.app import OPERATIONS
from evalqueue.http.routes.page import PATHS as PAGE_PATHS
from evalqueue.jobs import TRANSITIONS, JobStatus
from evalqueue.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TASK_STATUS = {
    "queued": "todo",
    "running": "doing",
    "completed": "succeeded",
    "failed": "failed",
    "cancelled": "aborted",
}
"""procrastinate's word for each of ours."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def without_code(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.split(" ", 1)[0]
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", page, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"no section {heading!r}"
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """The rows of the first table of a text, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def anchors(page: str) -> set[str]:
    """The names that a forge gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


# Links, commands, versions.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text("utf-8")), target


def test_every_document_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)", text_of("docs/index.md")))
    decisions = sorted((DOCS / "adr").glob("*.md"))[1:]
    pages = {DOCS / "index.md", *decisions} ^ set(DOCS.rglob("*.md"))
    assert {page.relative_to(DOCS).as_posix() for page in pages} <= linked


def test_every_verb_of_run_that_is_mentioned_exists() -> None:
    verbs = set(re.findall(r"^\./run (\w+)", text_of("run"), re.MULTILINE))
    mentioned = {
        verb for page in PAGES for verb in re.findall(r"\./run ([a-z]+)", page.read_text("utf-8"))
    }
    assert mentioned == verbs


def test_every_command_that_is_mentioned_exists() -> None:
    commands = set(typer.main.get_group(main.app).commands)
    code = re.compile(r"(?:^|[`/ ])evalqueue ([a-z]+(?:-[a-z]+)*)", re.MULTILINE)
    mentioned: set[str] = set()
    for page in PAGES:
        text = page.read_text("utf-8")
        for block in [*SHELL_BLOCK.findall(text), *re.findall(r"`[^`\n]+`", without_code(text))]:
            mentioned.update(code.findall(block))
    assert mentioned == commands


def test_the_changelog_has_this_version() -> None:
    versions = re.findall(
        r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text_of("CHANGELOG.md"), re.MULTILINE
    )
    assert versions[0] == PYPROJECT["project"]["version"] == evalqueue.__version__


def test_the_changelog_names_every_command() -> None:
    listed = re.findall(r"[Cc]ommand(?:s| line): (.*?)\.\n", text_of("CHANGELOG.md"), re.DOTALL)
    named = re.findall(r"`([\w-]+)`", " ".join(listed))
    assert sorted(named) == sorted(typer.main.get_group(main.app).commands)


def test_decisions_are_short_and_say_what_was_rejected() -> None:
    decisions = sorted((DOCS / "adr").glob("*.md"))
    for number, path in enumerate(decisions, start=1):
        text = path.read_text("utf-8")
        assert path.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number:04} ")
        assert len(text.splitlines()) <= 40
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Decision", "Rejected"]


# Modules.


def own_modules() -> list[Path]:
    """The Python modules of the package, except empty `__init__` files."""
    return [path for path in (ROOT / "src/evalqueue").rglob("*.py") if path.stat().st_size]


def page_modules() -> list[Path]:
    """The JavaScript modules of the page, except what is compiled or comes from npm."""
    page = ROOT / "src/evalqueue/http/page"
    return [
        path
        for path in page.rglob("*.js")
        if path.relative_to(page).parts[0] not in {"client", "vendor"}
    ]


@pytest.mark.parametrize(
    "module", own_modules(), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_module_says_what_it_holds(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_text("utf-8")))
    assert docstring is not None


@pytest.mark.parametrize("module", page_modules(), ids=lambda path: path.name)
def test_every_module_of_the_page_says_what_it_holds(module: Path) -> None:
    assert re.match(r"//|/\*\*", module.read_text("utf-8"))


def test_every_sql_file_says_what_it_holds() -> None:
    files = [*(ROOT / "src/evalqueue/sql").rglob("*.sql")]
    assert files
    assert [path.name for path in files if not path.read_text("utf-8").startswith("--")] == []


def test_every_sql_function_in_the_life_of_a_job_exists(dsn: str) -> None:
    life = section(text_of("docs/architecture.md"), "## The life of a job")
    functions = set(re.findall(r"`((?:evalqueue|procrastinate)_\w+)`", life))
    with psycopg.connect(dsn) as connection:
        known = {name for (name,) in connection.execute("SELECT proname FROM pg_proc")}
    assert functions
    assert functions <= known


# The life of a job.


def arrows() -> dict[tuple[str, str], str]:
    diagram = re.search(r"```mermaid\n(.*?)```", text_of("docs/lifecycle.md"), re.DOTALL)
    assert diagram is not None
    found = re.findall(r"^ *(\w+) --> (\w+) : (.+)$", diagram[1], re.MULTILINE)
    return {(source, target): cause for source, target, cause in found}


def test_the_diagram_has_the_arrows_of_the_code() -> None:
    assert arrows() == {
        (source.value, target.value): cause
        for source, targets in TRANSITIONS.items()
        for target, cause in targets.items()
    }


@pytest.mark.parametrize("arrow", arrows(), ids="->".join)
def test_the_database_takes_every_arrow(dsn: str, arrow: tuple[str, str]) -> None:
    with psycopg.connect(dsn) as connection:
        source, target = arrow
        assert status_after(connection, *path_to(source), target) == target


@pytest.mark.parametrize("status", [each for each in JobStatus if each.is_over])
def test_the_database_takes_no_arrow_out_of_an_end(dsn: str, status: JobStatus) -> None:
    for target in ("queued", "running"):
        with psycopg.connect(dsn) as connection:
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="for ever"):
                status_after(connection, *path_to(status.value), status.value, target)
            connection.rollback()


def path_to(status: str) -> list[str]:
    """The statuses between a submission and this one, itself included."""
    return [] if status == "queued" else ["running"]


def status_after(connection: psycopg.Connection[Any], *statuses: str) -> str:
    """The status of a new job whose task goes through some statuses."""
    row = connection.execute("SELECT evalqueue_submit_job('greet')").fetchone()
    assert row is not None
    for status in statuses:
        connection.execute(
            "UPDATE procrastinate_jobs SET status = %s"
            " WHERE id = (SELECT task_id FROM jobs WHERE id = %s)",
            [TASK_STATUS[status], row[0]],
        )
    found = connection.execute("SELECT status FROM jobs WHERE id = %s", row).fetchone()
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("heading", "constraint"),
    [
        ("## Jobs", "jobs_status_is_known"),
        ("## Attempts", "job_attempts_outcome_is_known"),
        ("## Runs", "eval_runs_status_is_known"),
    ],
)
def test_the_lifecycle_names_what_the_table_allows(dsn: str, heading: str, constraint: str) -> None:
    with psycopg.connect(dsn) as connection:
        definition = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", [constraint]
        ).fetchone()
    assert definition is not None
    allowed = set(re.findall(r"'(\w+)'", definition[0]))
    listed = {row[0].strip("`") for row in rows(section(text_of("docs/lifecycle.md"), heading))}
    assert listed == allowed


def test_the_provider_page_names_every_outcome() -> None:
    table = section(text_of("docs/howto/add-a-provider.md"), "## The outcomes")
    listed = {row[0]: row[2:] for row in rows(table)}
    flags = {
        name: (retried == "yes", stops == "yes")
        for names, (retried, stops) in listed.items()
        for name in re.findall(r"`(\w+)`", names)
    }
    assert flags == {
        each.value: (each.retryable, each.stops_the_job)
        for each in CallOutcome
        if each is not CallOutcome.OK
    }


# Settings.


DESCRIBED = {
    "## The process": Settings,
    "## LLM providers": ProviderSettings,
    "## The pace of LLM calls": PaceSettings,
    "## Costs": PriceSettings,
    "## Economy mode": EconomySettings,
    "## Sources of conversations": SourceSettings,
    "## Spending caps": CapSettings,
    "## Chatbots under test": ChatbotSettings,
    "## Alerts": WebhookSettings,
}


def test_the_settings_that_are_described_are_checked_at_the_start() -> None:
    assert set(DESCRIBED.values()) == set(ALL_SETTINGS)


@pytest.mark.parametrize(("heading", "model"), DESCRIBED.items())
def test_every_setting_is_in_the_configuration(heading: str, model: type[BaseSettings]) -> None:
    listed = {
        row[0].strip("`"): row[1]
        for row in rows(section(text_of("docs/configuration.md"), heading))
    }
    fields = {variable(model, name): field for name, field in model.model_fields.items()}
    assert set(listed) == set(fields)
    for name, field in fields.items():
        if isinstance(field.default, str | int | float | Path):
            assert listed[name] == f"`{field.default}`", name


def variable(model: type[BaseSettings], field: str) -> str:
    alias = model.model_fields[field].validation_alias
    return str(alias) if alias else f"{model.model_config.get('env_prefix', '')}{field}".upper()


# The HTTP API.


def test_every_address_of_the_page_is_described() -> None:
    part = section(text_of("docs/http-api.md"), "## The page")
    assert set(re.findall(r"`(/[^`…]*)`", part)) == set(PAGE_PATHS)


def test_every_route_is_in_the_page_about_the_api() -> None:
    described = set(
        re.findall(r"^### ((?:GET|POST|DELETE) \S+)$", text_of("docs/http-api.md"), re.MULTILINE)
    )
    assert described == {f"{each.method} {each.path}" for each in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
def test_the_example_answers_have_the_shape_of_real_ones(operation: Any) -> None:
    part = section(text_of("docs/http-api.md"), f"### {operation.method} {operation.path}")
    for example in re.findall(r"^```json\n(.*?)^```$", part, re.MULTILINE | re.DOTALL):
        example_value = operation.response.validate_json(example)
        assert keys(operation.response.dump_python(example_value, mode="json")) == keys(
            json.loads(example)
        )


EXAMPLE_ELSEWHERE = {
    "GET /api/apps/{app_id}",
    "GET /api/jobs",
    "GET /api/eval-runs",
    "GET /api/datasets",
    "GET /api/datasets/{dataset_id}",
    "POST /api/adversarial/cases",
    "GET /openapi.json",
    "GET /metrics",
    "GET /api/eval-runs/{run_id}/report",
    "GET /shared/{token}",
}
"""Operations whose answer is one of another operation, or a list of them, or no JSON."""


def test_every_operation_has_an_example_answer() -> None:
    text = text_of("docs/http-api.md")
    without = {
        name
        for each in OPERATIONS
        if not each.events
        and "```json" not in section(text, f"### {(name := f'{each.method} {each.path}')}")
    }
    assert without == EXAMPLE_ELSEWHERE


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each.in_body],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_the_example_requests_are_valid(operation: Any) -> None:
    part = section(text_of("docs/http-api.md"), f"### {operation.method} {operation.path}")
    commands = "".join(SHELL_BLOCK.findall(part))
    bodies = re.findall(r"-d '(\{.*?\})'$", commands, re.MULTILINE | re.DOTALL)
    assert bodies or " -F " in commands
    in_path = dict.fromkeys(re.findall(r"\{(\w+)\}", operation.path), str(uuid4()))
    for body in bodies:
        operation.request.model_validate(json.loads(body) | in_path)


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each.events],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_the_example_events_are_those_that_are_sent(operation: Any) -> None:
    part = section(text_of("docs/http-api.md"), f"### {operation.method} {operation.path}")
    examples = re.findall(r"^event: (\w+)\n(?:id: .*\n)?data: (.*)$", part, re.MULTILINE)
    assert examples
    for name, data in examples:
        assert name in operation.events
        if "…" not in data:
            operation.events[name].model_validate_json(data)


def keys(value: Any) -> Any:
    """The keys of a JSON value, all the way down."""
    if isinstance(value, dict):
        return {name: keys(each) for name, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [keys(each) for each in cast("list[Any]", value)]
    return None
