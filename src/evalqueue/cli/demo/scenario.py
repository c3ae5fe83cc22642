"""What a demo shows: a job, its results, and the commands to continue with."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalqueue.cli.demo.api import ApiClient
from evalqueue.cli.demo.judge import JudgeChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoScenario:
    """One demo."""

    job_type: str
    params: Mapping[str, Any]
    """Without the judge."""
    print_results: Callable[[ApiClient, Mapping[str, Any], JudgeChoice], Awaitable[None]]
    """Prints the results, from the JSON of the run and whatever else the API has."""
    next_steps: Callable[[str, str], Iterable[str]]
    """Shell commands to continue with, from how `evalqueue` is called here and the address that the
    API of `evalqueue up` will have; the first one keeps running."""
    chatbot: tuple[str, ...] | None = None
    """Flags of the simulated chatbot, if the demo needs one."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further environment variables of the child processes."""
    introduction: Sequence[str] = ()
    """Lines to print before the demo starts."""
