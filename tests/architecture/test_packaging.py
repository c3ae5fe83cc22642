"""Three folders, one package: what is built is whole, and works without the checkout."""

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import evalqueue

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout by the build backend that users' pip runs."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (found,) = folder.glob("*.whl")
    return found


def files_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_all_four_folders_as_real_files(wheel: Path):
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder, name in [("src/http", "http"), ("src/evaluators", "evaluators"), ("sql", "sql")]:
        wanted = {f"evalqueue/{name}/{path}" for path in files_below(ROOT / folder)}
        assert wanted <= held
    assert {"evalqueue/py.typed", "evalqueue/cli/main.py"} <= held
    assert not any(name.startswith(("http/", "evaluators/", "sql/")) for name in held)


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import evalqueue, evalqueue.http, evalqueue.evaluators as e, http.client;"
        "from evalqueue.postgres import definitions, schema; from evalqueue.evaluators import apps;"
        "from evalqueue.evaluators.simulated import conversations;"
        "from evalqueue.http.routes import page; assert (page.FOLDER / 'index.html').is_file();"
        "assert (page.FOLDER / 'client/index.js').is_file();"
        "assert evalqueue.__file__.startswith(%r), evalqueue.__file__;"
        "assert definitions.read_definitions();"
        "print(len(schema.own_migrations()), apps.known(), conversations.kaira_csv().exists())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code % str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    migrations = len(list((ROOT / "sql" / "tables").glob("*/*.sql")))
    assert done.stdout.strip() == f"{migrations} ('kaira-bot', 'retail-support') True"


def test_the_version_is_said_once():
    assert evalqueue.__version__ == importlib.metadata.version("evalqueue")


def test_the_public_names_are_the_ones_declared():
    public = {
        name
        for name, value in vars(evalqueue).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("evalqueue.")
    }
    assert public == set(evalqueue.__all__)
    assert evalqueue.__all__ == sorted(evalqueue.__all__)
