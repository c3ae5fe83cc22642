"""Reservations: what an LLM call may use at most is set aside before it is made.

`evaluators.caps` makes them for jobs with a cap. Without one, `Uncapped` sets nothing aside.
"""

from dataclasses import dataclass
from decimal import Decimal
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """What questions of a batch may use at most. It counts as used until the batch is over."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    month: str | None = None
    """`2026-11`, in the database's time. None: there is no cap."""


class Reservations(Protocol):
    """Makes reservations for the calls of one job."""

    async def set_aside(self, request: CompletionRequest, /, *, price_share: Decimal) -> SetAside:
        """Wait until a question may be put into a batch, at a share of the price.

        Raises:
            ProviderError: a cap does not allow it.
        """
        ...

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

    async def set_aside(self, request: CompletionRequest, /, *, price_share: Decimal) -> SetAside:
        return SetAside()
