"""`./run` in the settings that people's shells and machines have."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Checkout, Mirror, make_checkout

SHELLS = [("dash",), ("busybox", "sh"), ("bash", "--posix")]


def site_packages(checkout: Checkout) -> set[str]:
    (folder,) = (checkout.folder / ".venv/lib").glob("python3.*/site-packages")
    return {path.name for path in folder.iterdir()}


def test_two_first_commands_at_once_with_hostile_settings_make_one_environment(
    mirror: Mirror, tmp_path: Path
):
    checkout = make_checkout(tmp_path / """a 'quoted' "path" & $HOME %41""", mirror)
    settings = {
        **checkout.by_mirror,
        "PIP_USER": "1", "PIP_TARGET": str(tmp_path / "target"), "PIP_REQUIRE_HASHES": "1",
        "PIP_CONSTRAINT": "/nonexistent", "PIP_PYTHON": "/nonexistent",
        "PYTHONHOME": "/nonexistent", "CDPATH": "/", "PYTHONPATH": str(tmp_path / "modules"),
    }  # fmt: skip
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "sniffio.py").write_text("raise ImportError('not the environment's')")
    shell = ("sh", "-c", 'umask 077; exec "$0" "$@"')
    both = [checkout.start("demo", shell=shell, **settings) for _ in range(2)]
    results = [(*process.communicate(), process.returncode) for process in both]
    assert [(out, code) for out, _, code in results] == [(f"{checkout.folder} demo\n", 0)] * 2
    assert sorted("creating the environment" in err for _, err, _ in results) == [False, True]
    assert not (tmp_path / "target").exists()
    # Set-up leaves nothing behind that the product does not need.
    assert site_packages(checkout).isdisjoint({"pip", "uv", "setuptools", "hatchling"})
    assert not (checkout.folder / ".venv/bin/uv").exists()


def test_an_environment_that_another_process_begins_meanwhile_is_waited_for(
    mirror: Mirror, tmp_path: Path
):
    """The other one writes its first file at the moment at which the folder is listed."""
    checkout = make_checkout(tmp_path / "checkout", mirror)
    (checkout.folder / ".venv").mkdir()
    programs = tmp_path / "programs"
    programs.mkdir()
    listing = programs / "ls"
    listing.write_text(
        f'#!/bin/sh\ntouch "{checkout.folder}/.venv/.set-up"\nexec {shutil.which("ls")} "$@"\n'
    )
    listing.chmod(0o755)
    path = f"{programs}:{checkout.environment['PATH']}"
    code, out, err = checkout.run("demo", **checkout.by_mirror, PATH=path)
    assert (code, out) == (0, f"{checkout.folder} demo\n"), err


def test_pip_s_files_and_netrc_are_used_by_uv(set_up: Checkout, mirror: Mirror):
    assert "pip does" not in (set_up.home / "log").read_text()  # uv did, as `set_up` asked for
    assert any("/simple/sniffio/" in path for path in mirror.asked)


def test_an_environment_whose_interpreter_is_gone_is_made_anew_from_a_folder_without_uv(
    set_up: Checkout, mirror: Mirror, tmp_path: Path
):
    for wheel in mirror.folder.rglob("*.whl"):
        if not wheel.name.startswith("uv-"):
            (tmp_path / wheel.name).symlink_to(wheel)
    python = set_up.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nonexistent/python3")
    before = len(mirror.asked)
    code, out, err = set_up.run("demo", "--now", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert (code, out) == (0, f"{set_up.folder} demo --now\n"), err
    assert "pip does" in err
    assert len(mirror.asked) == before


def test_an_index_that_is_not_trusted_is_named_as_the_cause(mirror: Mirror, tmp_path: Path):
    checkout = make_checkout(tmp_path / "checkout", mirror)
    code, out, err = checkout.run("demo", PIP_INDEX_URL=mirror.url)
    assert (code, out) == (1, "")
    assert "PIP_INDEX_URL, PIP_CERT, PIP_PROXY" in err.splitlines()[-1] + err.splitlines()[-2]


def test_settings_of_pip_that_can_t_be_read_are_named(mirror: Mirror, tmp_path: Path):
    checkout = make_checkout(tmp_path / "checkout", mirror)
    code, out, err = checkout.run("demo", PIP_TIMEOUT="soon")
    assert (code, out) == (1, "")
    assert "timeout" in err
    assert err.splitlines()[-1] == "./run: pip's configuration can't be read (see above)."
    assert "Traceback" not in err


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_relative_paths_are_the_caller_s_also_through_a_link(
    shell: tuple[str, ...], set_up: Checkout, tmp_path: Path
):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    (tmp_path / "file.txt").write_text("here")
    (tmp_path / "link").symlink_to(os.path.relpath(set_up.folder / "run", tmp_path))
    (tmp_path / "second").symlink_to("link")
    for command in ("link", "second", os.path.relpath(set_up.folder / "run", tmp_path)):
        code, out, err = set_up.run(
            "exec", "cat", "file.txt", command=command, cwd=tmp_path, shell=shell, CDPATH="/:/tmp"
        )
        assert (code, out, err) == (0, "here", "")
    code, out, _ = set_up.run("up", command="link", cwd=tmp_path, shell=shell)
    assert (code, out) == (0, f"{tmp_path} up\n")


def test_the_command_s_exit_code_is_run_s(set_up: Checkout):
    assert set_up.run("exec", "sh", "-c", "exit 7")[0] == 7
    code, _, err = set_up.run("exec")
    assert (code, err) == (2, "./run exec: which command?\n")
    code, _, err = set_up.run("nothing")
    assert (code, err.splitlines()[0]) == (2, "./run: no such command: nothing")


def test_the_caller_s_modules_don_t_replace_the_environment_s(set_up: Checkout, tmp_path: Path):
    (tmp_path / "sniffio.py").write_text("x = 1")
    (tmp_path / "own.py").write_text("x = 2")
    code, out, _ = set_up.run(
        "exec", "python", "-c", "import own, sniffio; print(own.x, sniffio.current_async_library)",
        PYTHONPATH=str(tmp_path), PYTHONHOME="/nonexistent",
    )  # fmt: skip
    assert code == 0
    assert out.startswith("2 <function")


def test_a_folder_that_is_no_environment_is_left_as_it_is(set_up: Checkout, tmp_path: Path):
    (tmp_path / "letter.txt").touch()
    code, _, err = set_up.run("demo", EVALQUEUE_VENV=str(tmp_path))
    assert code == 1
    assert "not a virtual environment" in err
    assert "EVALQUEUE_VENV" in err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_that_can_t_be_written_is_named_with_the_setting(set_up: Checkout):
    code, _, err = set_up.run("demo", EVALQUEUE_VENV="/proc/venv")  # for root, too
    assert code == 1
    assert err.splitlines() == [
        "./run: /proc/venv, the folder of the environment, can't be written.",
        "./run: Set EVALQUEUE_VENV to a folder that can: "
        "EVALQUEUE_VENV=$HOME/.cache/evalqueue-venv",
    ]


def test_without_python_311_the_setting_is_named(set_up: Checkout, tmp_path: Path):
    for name in ("cat", "cksum", "dirname", "readlink", "mkdir", "touch", "ls"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    done = subprocess.run(
        [shutil.which("sh") or "sh", str(set_up.folder / "run"), "demo"],
        env={"PATH": str(tmp_path), "EVALQUEUE_VENV": str(tmp_path / "venv")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "./run: Python 3.11 or newer is needed, and none was found on PATH."
        " Set PYTHON=/path/to/python3.\n"
    )
