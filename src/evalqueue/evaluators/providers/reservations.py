"""Reservations: what an LLM call may use at most is set aside before it is made.

`evaluators.caps` makes them for jobs with a cap. Without one, `Uncapped` sets nothing aside.
"""

from typing import Protocol

from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest


class Reservation(Protocol):
    """The permission to use so much for the attempts at one call."""

    def settle(self, result: Completion | ProviderError | None, /) -> None:
        """Report how an attempt ended that may be billed. None: it was interrupted. Only the first
        report counts."""
        ...

    def release(self) -> None:
        """No attempt was billed, unless one is settled. Must be called."""
        ...


class Reservations(Protocol):
    """Makes reservations for the calls of one job."""

    async def reserve(self, request: CompletionRequest, /) -> Reservation:
        """Wait until a call may be made.

        Raises:
            ProviderError: a cap does not allow it.
        """
        ...


class _NoReservation:
    def settle(self, result: Completion | ProviderError | None, /) -> None:
        """Nothing was set aside."""

    def release(self) -> None:
        """Nothing was set aside."""


class Uncapped:
    """No cap."""

    async def reserve(self, request: CompletionRequest, /) -> Reservation:
        return _NoReservation()
