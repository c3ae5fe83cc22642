"""What another provider, protocol, evaluator or format takes: its file and one registry line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from evalqueue.evaluators.chatbots.registry import PROTOCOLS
from evalqueue.evaluators.formats.registry import FORMATS
from evalqueue.evaluators.judging.registry import BUILT_IN
from evalqueue.evaluators.providers.registry import PROVIDERS

PACKAGE = Path(__file__).parents[2] / "src/evalqueue"


def literals(path: Path) -> frozenset[str]:
    """The text literals of a module, without its docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


# The simulated outside world has its own list of what it plays.
LITERALS = {
    path.relative_to(PACKAGE).as_posix(): literals(path)
    for path in PACKAGE.rglob("*.py")
    if not path.is_relative_to(PACKAGE / "evaluators/simulated")
}


def files_that_name(word: str) -> set[str]:
    return {path for path, found in LITERALS.items() if word in found}


KNOWN = {
    # The app describes the webhook, and a job holds the script: both are params of their own.
    "webhook": {"evaluators/apps/difficult_users.py"},
    "scripted": {"evaluators/adversarial/chatbot.py", "evaluators/chatbots/targets.py"},
    "kaira_v2": {"cli/demo/adversarial.py"},  # the demo's own case
    # Words of the data as well: a column or field, and a table of an app.
    "intent": {
        "evaluators/chatbots/protocols/kaira/v2.py",
        "evaluators/formats/shapes/fields.py",
        "evaluators/formats/values/columns.py",
    },
    "correctness": {"evaluators/apps/app.py"},
    "efficiency": {"evaluators/apps/app.py", "evaluators/apps/mistakes.py"},
    "checks": {
        "evaluators/apps/mistakes.py",
        "evaluators/apps/checks/__init__.py",
        "evaluators/apps/drafts.py",
    },
    "trajectory": {"evaluators/formats/shapes/known/chat.py"},
}


@pytest.mark.parametrize("kind", PROVIDERS, ids=lambda kind: kind.name)
def test_a_provider_is_named_in_its_own_file_only(kind):
    # A protocol of chatbots may have the same name.
    named = {path for path in files_that_name(kind.name) if "/chatbots/" not in path}
    own = kind.open.__module__.removeprefix("evalqueue.").replace(".", "/")
    for path in named.union(*map(files_that_name, kind.keys)):
        assert path == f"{own}.py" or path.startswith(f"{own}/")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_named_in_its_own_file_and_the_registry_line(name: str):
    own = f"evaluators/chatbots/{PROTOCOLS[name].replace('.', '/')}.py"
    named = {path for path in files_that_name(name) if "/providers/" not in path}
    assert named - KNOWN.get(name, set()) == {own, "evaluators/chatbots/registry.py"}


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
def test_an_evaluator_is_named_in_its_own_file_only(kind):
    named = files_that_name(kind.name) - KNOWN.get(kind.name, set())
    own = f"evaluators/judging/builtin/{kind.name}"
    assert all(path == f"{own}.py" or path.startswith(f"{own}/") for path in named)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_named_in_its_own_file_only(name: str):
    assert files_that_name(name) <= {f"evaluators/formats/{name}.py"}


def test_the_handlers_are_known_without_loading_a_vendor_s_sdk():
    code = (
        "import sys, evalqueue.evaluators.handlers\n"
        "print([name for name in ('openai', 'google', 'google.genai', 'aiohttp')"
        " if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_command_line_starts_without_what_evaluates_and_serves():
    """Half a second of imports, which every command would wait for."""
    code = (
        "import sys, evalqueue.cli.main\n"
        "print([name for name in sys.modules if name.startswith(('starlette', 'uvicorn', 'openai',"
        " 'rich', 'evalqueue.http', 'evalqueue.evaluators.judging', 'evalqueue.evaluators.apps'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
