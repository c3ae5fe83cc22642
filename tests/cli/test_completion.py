"""Shell completion: the scripts that shells load, and what they are answered."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Shell

SHELLS = ("bash", "zsh", "fish")


async def completed(shell: Shell, *words: str) -> list[str]:
    """What bash is offered for the last word."""
    answered = await shell.run(
        _EVALQUEUE_COMPLETE="complete_bash",
        COMP_WORDS=" ".join(("evalqueue", *words)),
        COMP_CWORD=str(len(words)),
    )
    assert answered.exit_code == 0, answered.err
    return answered.out.split()


async def test_commands_options_and_values_are_completed(shell: Shell) -> None:
    assert await completed(shell, "ru") == ["runs"]
    assert await completed(shell, "runs", "t") == ["threads"]
    assert await completed(shell, "runs", "threads", "--wh") == ["--where"]
    assert await completed(shell, "status", "--status", "ca") == ["cancelled"]
    assert await completed(shell, "submit", "evaluate-b") == ["evaluate-batch"]
    assert await completed(shell, "status", "--job-type", "evaluate-b") == ["evaluate-batch"]


@pytest.mark.parametrize("name", SHELLS)
async def test_each_shell_gets_a_script_that_it_can_read(
    shell: Shell, name: str, tmp_path: Path
) -> None:
    script = await shell.run(_EVALQUEUE_COMPLETE=f"source_{name}")

    assert script.exit_code == 0, script.err
    assert "_EVALQUEUE_COMPLETE=complete_" in script.out
    program = shutil.which(name)
    if program is not None:
        (tmp_path / "script").write_text(script.out)
        read = await asyncio.create_subprocess_exec(program, "-n", tmp_path / "script")
        assert await read.wait() == 0


def test_bash_completes_with_the_script(shell: Shell, tmp_path: Path) -> None:
    """As a person does: the script is loaded, and the tab key pressed."""
    bash = shutil.which("bash")
    assert bash is not None
    (tmp_path / "evalqueue").write_text(f'#!/bin/sh\nexec {sys.executable} -m evalqueue "$@"\n')
    (tmp_path / "evalqueue").chmod(0o755)
    pressed = """
        source <(_EVALQUEUE_COMPLETE=source_bash evalqueue)
        COMP_WORDS=(evalqueue adversarial tr) COMP_CWORD=2
        "$(complete -p evalqueue | sed 's/.*-F \\([^ ]*\\).*/\\1/')" evalqueue
        echo "${COMPREPLY[@]}"
    """
    path = f"{tmp_path}:{shell.environment['PATH']}"
    found = subprocess.run(
        [bash, "-c", pressed], env={**shell.environment, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert found.stdout.split() == ["transcript"], found.stderr
