"""What a stack consists of: its settings, its processes, and the addresses they end up with."""

import errno
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from evalqueue.cli.stack.child import STOP_SECONDS, ChildSpec
from evalqueue.errors import EvalqueueError
from evalqueue.evaluators.providers.registry import PROVIDERS, ProviderSettings
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED, SimulatedSettings
from evalqueue.settings import Settings

WORKER_GRACE_SECONDS = 30.0  # for a worker's running jobs to finish

SIMULATED_FLAGS = (
    "--latency-ms=200", "--latency-sigma=0.4", "--rate-429=0.02", "--rate-500=0.01",
    "--error-rate=0.05",
)  # fmt: skip
"""The simulated provider's latency and error rates: those of a real one on an average day."""


class PortTaken(EvalqueueError):
    """Another process listens on the API's port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What to run."""

    settings: Settings
    port: int
    """The API's; 0: any free one."""
    metrics_port: int | None = None
    """Of the worker's metrics; None: `EVALQUEUE_METRICS_PORT`."""
    or_free_port: bool = False
    """Whether the API uses a free port if another process listens on `port`."""
    simulated: bool
    """Whether to run the simulated provider, and to judge with it."""
    chatbot: tuple[str, ...] | None = None
    """Flags of the simulated chatbot to run; None: none is run."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """The children's environment variables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackAddresses:
    """The addresses of what runs; None: it does not run."""

    api: str
    database: str
    simulated: str | None
    chatbot: str | None


def needs_simulation(settings: ProviderSettings) -> bool:
    """Whether a simulated provider has to be started: it is chosen, or no other one is."""
    if named := settings.evalqueue_llm_provider:
        return named == SIMULATED.name and not SimulatedSettings().evalqueue_simulated_url
    return not any(kind.has_key(settings) for kind in PROVIDERS)


def is_free(host: str, port: int) -> bool:
    """Whether this process could listen on a port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # another error has a reason of its own
        return True


def simulated_provider(environment: Mapping[str, str]) -> ChildSpec:
    return ChildSpec(
        name="simulated provider",
        arguments=("simulate", "--until-eof", "--port=0", *SIMULATED_FLAGS),
        environment=environment,
        ready=re.compile(r"simulated provider on (http://\S+)"),
    )


def simulated_chatbot(environment: Mapping[str, str], flags: tuple[str, ...]) -> ChildSpec:
    return ChildSpec(
        name="simulated chatbot",
        arguments=("simulate-bot", "--until-eof", "--port=0", *flags),
        environment=environment,
        ready=re.compile(r"simulated Kaira on (http://\S+)"),
    )


def api(environment: Mapping[str, str], plan: StackPlan) -> ChildSpec:
    flags = ("--or-free-port",) if plan.or_free_port else ()
    where = (f"--host={plan.settings.host}", f"--port={plan.port}")
    return ChildSpec(
        name="API",
        arguments=("serve", "--until-eof", *where, *flags),
        environment=environment,
        ready=re.compile(r"API on (http://\S+)"),
    )


def worker(environment: Mapping[str, str], plan: StackPlan) -> ChildSpec:
    flags = () if plan.metrics_port is None else (f"--metrics-port={plan.metrics_port}",)
    return ChildSpec(
        name="worker",
        arguments=(
            "worker",
            "--until-eof",
            "--processes=1",
            f"--shutdown-graceful-timeout={WORKER_GRACE_SECONDS}",
            *flags,
        ),
        environment=environment,
        ready=re.compile(r" is ready: "),
        grace_seconds=WORKER_GRACE_SECONDS + STOP_SECONDS,
    )
