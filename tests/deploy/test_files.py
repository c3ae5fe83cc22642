"""The files for operators agree with the product: settings, commands, routes, versions."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import psycopg
import pytest
import typer
import yaml

import evalqueue
from evalqueue.cli.main import app
from evalqueue.postgres.queries import FLEET, load

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
OTHERS_VARIABLES = {"EVALQUEUE_PUBLISHED_PORT"}  # compose's own
PROGRAM = "/opt/evalqueue/bin/evalqueue"

BOUNDS = {"queues": 100, "priorities": 100, "entries": 1000}

Document = dict[str, Any]
"""A Kubernetes object or a compose file: their schemas are checked, not typed."""


def objects() -> list[Document]:
    files = sorted(KUBERNETES.glob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def containers() -> dict[str, Document]:
    """Each pod's template, by the name of its object."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in objects()
        if each["kind"] in {"Deployment", "Job"}
    }


def services() -> Document:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def command_lines() -> dict[str, list[str]]:
    """What the files run, without the program."""
    lines = {
        f"kubernetes {name}": [*pod["containers"][0]["args"]] for name, pod in containers().items()
    }
    lines |= {
        f"compose {name}": service["command"]
        for name, service in services().items()
        if name != "postgres"
    }
    for unit in UNITS:
        (line,) = re.findall(rf"^ExecStart={PROGRAM} (.+)$", unit.read_text(), re.MULTILINE)
        lines[unit.name] = line.split()
    return lines


def graceful_seconds(arguments: list[str]) -> float:
    return float(arguments[arguments.index("--shutdown-graceful-timeout") + 1])


@pytest.mark.parametrize("name", command_lines())
def test_every_command_is_one_with_these_options(name: str) -> None:
    command, *arguments = command_lines()[name]
    group = typer.main.get_group(app)

    with group.make_context("evalqueue", ["--help"], resilient_parsing=True) as context:
        found = group.get_command(context, command)
        assert found is not None
        found.make_context(command, arguments, parent=context)


def test_every_variable_is_a_setting() -> None:
    documented = (ROOT / "docs/configuration.md").read_text()
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    for file in (*files, ROOT / "Dockerfile", ROOT / "compose.yaml"):
        for name in set(re.findall(r"\bEVALQUEUE_[A-Z_]+", file.read_text())) - OTHERS_VARIABLES:
            assert f"`{name}`" in documented, f"{file.name}: {name}"


@pytest.mark.parametrize(
    "document", [each for each in objects() if "/v1alpha1" not in each["apiVersion"]],
    ids=lambda each: f"{each['kind']} {each.get('metadata', {}).get('name', '')}",
)  # fmt: skip
def test_kubernetes_accepts(document: Document) -> None:
    if document["kind"] == "Kustomization":
        for file in document["resources"]:
            assert (KUBERNETES / file).is_file()
        assert document["images"][0]["newTag"] == evalqueue.__version__
        return
    kubernetes_validate.validate(document, "1.37", strict=True)


def test_running_jobs_have_time_to_end() -> None:
    """Whatever stops a worker waits longer than the worker itself."""
    pod = containers()["evalqueue-worker"]
    arguments = pod["containers"][0]["args"]
    assert graceful_seconds(arguments) < pod["terminationGracePeriodSeconds"]

    worker = services()["worker"]
    period = int(worker["stop_grace_period"].removesuffix("s"))
    assert graceful_seconds(worker["command"]) < period

    (unit,) = (each.read_text() for each in UNITS if "worker" in each.name)
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert graceful_seconds(unit.split()) < int(stop)


def test_the_query_for_scaling_counts_the_work(dsn: str) -> None:
    (scaled,) = (each for each in objects() if each["kind"] == "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute(query).fetchall() == [(0,)]
        for seconds in (0, 0, 3600):
            connection.execute(
                "SELECT evalqueue_submit_job('note', '{}', scheduled_at => "
                "now() + make_interval(secs => %s))",
                [seconds],
            )
        assert connection.execute(query).fetchall() == [(2,)]
        connection.execute(  # one of them helps the other
            "WITH two AS (SELECT min(id::text)::uuid AS one, max(id::text)::uuid AS other FROM jobs"
            " WHERE due_at <= now()) UPDATE jobs SET parent_id = one FROM two WHERE id = other"
        )
        counted = connection.execute("SELECT count(*) FROM jobs WHERE parent_id IS NULL").fetchall()
        assert counted == [(2,)]
        assert connection.execute(query).fetchall() == [(1,)]
        figures = connection.execute(load("queue/metrics")["fleet"], BOUNDS).fetchall()
        assert [each[3] for each in figures if each[0] == "due"] == [1]
        (state,) = connection.execute(FLEET["queues"], {"at_most": 100}).fetchall()
        assert state[4:8] == (0, 0, 1, 1)  # running, helpers, due, later


def test_each_kind_of_process_has_a_secret_of_its_own() -> None:
    secrets = {
        each["metadata"]["name"]: each["stringData"]
        for each in objects()
        if each["kind"] == "Secret"
    }
    used = {
        name: pod["containers"][0]["envFrom"][0]["secretRef"]["name"]
        for name, pod in containers().items()
    }
    assert used == {name: name for name in used}
    assert set(used.values()) < set(secrets)
    assert "OPENAI_API_KEY" not in secrets["evalqueue-api"]
    assert "EVALQUEUE_API_TOKENS" not in secrets["evalqueue-worker"]
    assert set(secrets["evalqueue-migrate"]) == {"DATABASE_URL"}
    (scaled,) = (each for each in objects() if each["kind"] == "TriggerAuthentication")
    assert scaled["spec"]["secretTargetRef"][0]["name"] in secrets


def test_the_image_is_built_with_what_the_checkout_has() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (version,) = re.findall(r"uv==([\d.]+)", dockerfile)
    assert f"UV_VERSION={version}\n" in (ROOT / "tools/environment.sh").read_text()
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / path).exists() for path in allowed)


def test_a_wheel_is_built_from_what_the_image_gets(tmp_path: Path) -> None:
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for path in allowed:
        source, copy = ROOT / path, tmp_path / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, copy, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, copy)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda each: each.name)
def test_systemd_accepts(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    for each in UNITS:  # they name each other
        text = each.read_text()
        (tmp_path / each.name).write_text(text.replace(PROGRAM, "/bin/true"))
    verified = subprocess.run(
        [analyze, "verify", str(tmp_path / unit.name)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
