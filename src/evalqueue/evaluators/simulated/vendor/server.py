"""A simulated LLM vendor: a loopback server with the protocols of OpenAI, Azure and Gemini.

It is a server, so that tests, benchmarks and the demo use the real SDKs: their parsing, errors and
connections. Faults are drawn from a hash of the seed, the request, and the number of earlier equal
requests. So a run is reproducible, and a retry gets a new draw. Every answer is marked: the model
is `simulated-judge`, and the reasoning starts with "simulated".

Some names force an outcome: the key `bad-key`, the model `no-such-model`, and the models
`always-FAULT`, where FAULT is a member of `VendorFault`. The models `situation-NAME` answer in one
of the ways of `situations`.

`python -m evalqueue.evaluators.simulated.vendor.server --port 8722` runs it as a program.
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from evalqueue.evaluators.simulated.loopback import Loopback
from evalqueue.evaluators.simulated.vendor.behaviour import Behaviour
from evalqueue.evaluators.simulated.vendor.limits import LimitKind, RetryAdvice
from evalqueue.evaluators.simulated.vendor.simulation import VendorSimulation

_SWITCHES = frozenset({"limit_headers", "limit_named", "only_gold", "without_batches"})
_OPTION_TYPES: Mapping[str, Callable[[str], object]] = {
    "seed": int,
    "batches_expiring": int,
    "context_tokens": int,
    "limit_requests": int,
    "limit_tokens": int,
    "limit_output_tokens": int,
    "limit_halved_after": int,
    "limit_requests_per_day": int,
    "limit_kind": LimitKind,
    "retry_advice": RetryAdvice,
    "forbidden": str,
}


class SimulatedServer:
    """The simulated vendor on 127.0.0.1, running inside `async with`."""

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        """Port 0: a free port, known once the server runs."""
        self.simulation = VendorSimulation(behaviour or Behaviour())
        self._server = Loopback(self.simulation.app, port=port)

    @property
    def url(self) -> str:
        """The base URL, without the path of a vendor (`/v1` for OpenAI's clients)."""
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.simulation.close()
        await self._server.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server in the foreground until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m evalqueue.evaluators.simulated.vendor.server",
        description="A simulated LLM vendor.",
    )
    parser.add_argument("--port", type=int, default=8722, help="0: a free one (default 8722)")
    for option in dataclasses.fields(Behaviour):
        flag = f"--{option.name.replace('_', '-')}"
        if option.name in _SWITCHES:
            parser.add_argument(flag, action="store_true")
        elif option.name not in {"unknown_parameters", "gold"}:
            kind = _OPTION_TYPES.get(option.name, float)
            parser.add_argument(flag, type=kind, default=option.default)
    parser.add_argument("--gold", type=Path, help="a JSON file of gold labels")
    options = vars(parser.parse_args(arguments))
    port = options.pop("port")
    Loopback(VendorSimulation(Behaviour(**options)).app, port=port).run("simulated provider")


if __name__ == "__main__":
    main()
