"""`evalqueue compare` and `evalqueue gate`, as a pipeline runs them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

from forking import Command

from evalqueue.testing import Behaviour


def evalqueue(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command; forked, because importing the program takes longer than the command."""
    environment = os.environ | {"DATABASE_URL": dsn}
    command = Command.start(arguments, stdin="", environment=environment, folder=Path.cwd())
    return subprocess.CompletedProcess(arguments, *command.wait())


async def test_a_pipeline_gets_exit_codes_and_reports(
    judged: Any, dsn: str, tmp_path: Path
) -> None:
    right = str(await judged(Behaviour(), total_items=40))
    wrong = str(await judged(Behaviour(error_rate=0.6), total_items=40))

    compared = evalqueue(dsn, "compare", wrong, right)
    assert compared.returncode == 0, compared.stderr
    assert "40 conversations are in both runs." in compared.stdout
    assert "worse. mean" in compared.stdout
    document = json.loads(evalqueue(dsn, "compare", wrong, right, "--json").stdout)
    assert document["conversations"]["both"] == 40
    assert {"intent", "correctness", "efficiency"} == {e["evaluator"] for e in document["scores"]}

    passed = evalqueue(dsn, "gate", right, "--require", "intent >= 0.5")
    assert (passed.returncode, passed.stdout.splitlines()[-1]) == (0, "The gate: passed.")
    report = tmp_path / "report.xml"
    failed = evalqueue(
        dsn, "gate", wrong, "--baseline", right, "--require", "intent no worse",
        "--require", "efficiency.efficient >= 0", "--junit", str(report), "--github",
    )  # fmt: skip
    assert failed.returncode == 1, failed.stdout
    assert "::error title=evalqueue gate::intent no worse: failed" in failed.stdout
    assert 'tests="2" failures="1" errors="0"' in report.read_text("utf-8")
    unclear = evalqueue(dsn, "gate", right, "--require", "intent >= 0.99", "--json")
    decision = json.loads(unclear.stdout)["decision"]
    assert (unclear.returncode, decision) in {(7, "not_decidable"), (1, "failed")}

    for arguments, code in (
        (("gate", right, "--require", "intent is good"), 2),
        (("gate", right, "--require", "intent no worse"), 2),
        (("gate", right, "--require", "nobody >= 1"), 2),
        (("gate", str(uuid4()), "--require", "intent >= 0"), 4),
        (("compare", right, str(uuid4())), 4),
    ):
        refused = evalqueue(dsn, *arguments)
        assert refused.returncode == code, (arguments, refused.stderr)
        assert len(refused.stderr.splitlines()) == 1
        assert "Traceback" not in refused.stderr
