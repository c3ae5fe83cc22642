"""The lines that end a demo: the addresses of what ran, and commands to continue with."""

import json
import os
import shlex
from collections.abc import Iterator

from evalqueue.cli.demo.scenario import DemoScenario
from evalqueue.cli.stack.plan import StackAddresses


def closing_lines(
    at: StackAddresses, run_id: str, scenario: DemoScenario, *, port: int, keep: bool
) -> Iterator[str]:
    """The lines that end a demo.

    Args:
        port: where `evalqueue up` will serve; 0: a free port.
    """
    yield ""
    yield (
        "Running until Ctrl-C:"
        if keep
        else "These ran during the demo (evalqueue demo --keep leaves them running):"
    )
    yield f"  this run        {at.api}/runs/{run_id}"
    yield f"  the API         {at.api}/openapi.json"
    yield f"  database        psql {shlex.quote(at.database)}"
    if at.chatbot:
        yield f"  the chatbot     {at.chatbot} (simulated)"
    yield ""
    first, *others = scenario.next_steps(evalqueue_command(), f"http://127.0.0.1:{port or 'PORT'}")
    yield f"Next\n  {first}\nand in another terminal, while it runs:"
    yield from (f"  {step}" for step in others)


def curl_command(
    api: str, job_type: str = "evaluate-batch", *, with_token: bool = False, **params: object
) -> str:
    """A shell command that submits a job; without params, a small batch."""
    body = {"job_type": job_type, "params": params or {"data_path": "test.csv"}}
    token = '-H "Authorization: Bearer $TOKEN" ' if with_token else ""
    return f"curl {token}-H 'Content-Type: application/json' -d '{json.dumps(body)}' {api}/api/jobs"


def evalqueue_command() -> str:
    """How to call this command line: as this process was, by `run` or by itself."""
    return os.environ.get("EVALQUEUE_COMMAND", "evalqueue")
