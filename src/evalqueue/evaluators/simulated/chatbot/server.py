"""A simulated Kaira chatbot: a loopback server with the protocols of the real one, v1 and v2.

It is a server, so that tests and the demo use real connections. The same bot also answers as an
OpenAI-compatible endpoint and as a plain webhook. Every answer is marked: the names of sessions and
responses start with `simulated-`.

The token `bad-token` is refused. With `obey_markers`, a message that contains the name of a fault
in double brackets, as in `[[hang]]`, gets that fault.

`python -m evalqueue.evaluators.simulated.chatbot.server --port 8723` runs it as a program.
"""

import argparse
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from evalqueue.evaluators.simulated.chatbot.bot import Weakness
from evalqueue.evaluators.simulated.chatbot.faults import SimulatedFault
from evalqueue.evaluators.simulated.chatbot.simulation import (
    ChatbotBehaviour,
    ChatbotSimulation,
    ChatbotStats,
)
from evalqueue.evaluators.simulated.loopback import Loopback


class SimulatedKaira:
    """The simulated Kaira on 127.0.0.1, running inside `async with`."""

    def __init__(self, behaviour: ChatbotBehaviour | None = None, *, port: int = 0) -> None:
        """Port 0: a free port, known once the server runs."""
        self._simulation = ChatbotSimulation(
            behaviour or ChatbotBehaviour(), close_connection=self._close_connection
        )
        self._server = Loopback(self._simulation.app, port=port)

    @property
    def url(self) -> str:
        """The base URL, without the path of a protocol (`/v1` for OpenAI's clients)."""
        return self._server.url

    @property
    def stats(self) -> ChatbotStats:
        return self._simulation.stats

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.outage()

    async def until(self, condition: Callable[[ChatbotStats], bool]) -> None:
        """Wait until a condition holds for the stats."""
        await self._simulation.until(condition)

    async def outage(self) -> None:
        """Abort every connection and refuse new ones until `restore`."""
        await self._server.stop(at_once=True)

    async def restore(self) -> None:
        """Serve again on the same port, with the same sessions."""
        await self._server.start()

    def run(self) -> None:
        """Serve in the foreground until interrupted."""
        self._server.run("simulated Kaira")

    def _close_connection(self, client: tuple[str, int]) -> None:
        self._server.close_connections(client)


def _fault_share(text: str) -> tuple[SimulatedFault, float]:
    """Parse `NAME` or `NAME=SHARE`, for example `hang=0.1`.

    Raises:
        argparse.ArgumentTypeError: the name or the share is invalid.
    """
    name, _, share = text.partition("=")
    try:
        return SimulatedFault(name), float(share or 1)
    except ValueError as error:
        names = ", ".join(SimulatedFault)
        message = f"{text!r} is neither NAME nor NAME=SHARE with a NAME of: {names}"
        raise argparse.ArgumentTypeError(message) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server in the foreground until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m evalqueue.evaluators.simulated.chatbot.server",
        description="A simulated Kaira.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8723, help="0: a free one (default 8723)")
    add("--weakness", choices=[*map(str, Weakness)], action="append", default=[], metavar="NAME",
        help=f"what the bot does wrong; may be repeated: {', '.join(Weakness)}")  # fmt: skip
    add("--fault", type=_fault_share, action="append", default=[], metavar="NAME[=SHARE]",
        help=f"what goes wrong in a share of the turns: {', '.join(SimulatedFault)}")  # fmt: skip
    add("--seed", type=int, default=0)
    add("--latency-ms", type=float, default=0.0)
    add("--obey-markers", action="store_true", help="[[NAME]] in a message forces that fault")
    options = parser.parse_args(arguments)
    behaviour = ChatbotBehaviour(
        weaknesses=frozenset(map(Weakness, options.weakness)),
        faults=dict(options.fault),
        seed=options.seed,
        latency_ms=options.latency_ms,
        obey_markers=options.obey_markers,
    )
    SimulatedKaira(behaviour, port=options.port).run()


if __name__ == "__main__":
    main()
