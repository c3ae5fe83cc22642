"""Every way from the source to an installed package ends in one that works; no way loses a file."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from homes import temporary_home

ROOT = Path(__file__).parents[2]
LINKS = {
    "sql": "src/evalqueue/sql",
    "src/http": "evalqueue/http",
    "src/evaluators": "evalqueue/evaluators",
}


def build(source: Path, out: Path, *options: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out), *options],
        cwd=source, check=True, capture_output=True, env=os.environ | environment,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Built:
    sdist: Path
    wheel: Path
    source: Path
    """The unpacked sdist, with the links of the checkout."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    with tarfile.open(sdist) as archive:
        # The argument is newer than Python 3.11.0, which has to do.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)  # noqa: S202  it was built above
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    for link, target in LINKS.items():
        (source / link).symlink_to(target)
    return Built(sdist, wheel, source)


def test_two_builds_give_the_same_bytes_also_from_the_sdist(built: Built, tmp_path: Path):
    build(built.source, tmp_path)
    for first in (built.sdist, built.wheel):
        assert (tmp_path / first.name).read_bytes() == first.read_bytes()


@pytest.mark.parametrize("folder", ["http", "evaluators", "sql"])
def test_a_build_without_a_folder_fails(folder: str, built: Built, tmp_path: Path):
    source = tmp_path / "source"
    (source / "tools").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "tools/check_build.py"):
        shutil.copy(ROOT / name, source / name)
    for name in {"http", "evaluators", "sql"} - {folder}:
        (source / "src/evalqueue" / name).mkdir(parents=True)
        (source / "src/evalqueue" / name / "__init__.py").touch()
    with pytest.raises(subprocess.CalledProcessError) as failed:
        build(source, tmp_path / "dist", "-t", "wheel")
    assert f"src/evalqueue lacks {folder}" in failed.value.stderr.decode()


def wheel(built: Built, _folder: Path) -> str:
    return str(built.wheel)


def sdist(built: Built, _folder: Path) -> str:
    return str(built.sdist)


def zip_without_links(built: Built, folder: Path) -> str:
    """As pip unpacks GitHub's zip of a repository: a link is a file with its target in it."""
    path = folder / "evalqueue-main.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(built.source.rglob("*")):
            if file.is_symlink() and str(file.relative_to(built.source)) in LINKS:
                archive.writestr(
                    f"evalqueue-main/{file.relative_to(built.source)}", os.readlink(file)
                )
            elif file.is_file():
                archive.write(file, f"evalqueue-main/{file.relative_to(built.source)}")
    return str(path)


def git_url(built: Built, folder: Path) -> str:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    repository = folder / "repository"
    shutil.copytree(built.source, repository, symlinks=True)
    author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "-A"), (*author, "commit", "-q", "-m", "all")):
        subprocess.run(["git", *command], cwd=repository, check=True)
    return f"git+file://{repository}"


def by_pip(python: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--python", python, "install", "--ignore-installed"]


def by_uv(python: str) -> list[str]:
    return ["uv", "pip", "install", "--python", python, "--no-cache", "--offline"]


CHECK = (
    "import evalqueue, evalqueue.http.app, evalqueue.evaluators.handlers;"
    "assert evalqueue.__file__.startswith(%r), evalqueue.__file__;"
    "from evalqueue.cli.main import main; main(['migrate'])"
)


@pytest.mark.parametrize(
    ("install", "way"),
    [(by_pip, wheel), (by_pip, zip_without_links), (by_pip, git_url), (by_uv, sdist)],
)
def test_what_is_installed_works(
    install: Callable[[str], list[str]], way: Callable[[Built, Path], str], built: Built,
    empty_dsn: str, tmp_path: Path,
):  # fmt: skip
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)}))
    # Its dependencies, and what builds it, are this environment's.
    (own / "others.pth").write_text(sysconfig.get_path("purelib"))
    python = str(venv / "bin/python")
    subprocess.run(
        [*install(python), "--quiet", "--no-deps", "--no-build-isolation", way(built, tmp_path)],
        check=True, cwd=tmp_path, env=os.environ | {"PIP_NO_INDEX": "1"},
    )  # fmt: skip
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("EVALQUEUE_", "PYTHONPATH"))
    } | {"EVALQUEUE_HOME": str(tmp_path / "home"), "DATABASE_URL": empty_dsn}
    subprocess.run([python, "-c", CHECK % str(own)], cwd=tmp_path, check=True, env=environment)
    evalqueue = venv / "bin/evalqueue"
    assert evalqueue.is_file()
    if way is sdist:
        home = temporary_home("evalqueue-install-")
        try:
            done = subprocess.run(
                [evalqueue, "demo"], cwd=tmp_path, check=False, capture_output=True, text=True,
                env=environment | {
                    "EVALQUEUE_HOME": str(home), "EVALQUEUE_PORT": "0",
                    "EVALQUEUE_LLM_PROVIDER": "simulated",
                    "PGREQUIREAUTH": "scram-sha-256", "PGTZ": "Nowhere", "PGOPTIONS": "--x=1",
                },
            )  # fmt: skip
        finally:
            shutil.rmtree(home)
        assert done.returncode == 0, done.stderr
        assert "48 of 48 conversations evaluated" in done.stdout
