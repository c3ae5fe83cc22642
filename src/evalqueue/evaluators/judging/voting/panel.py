"""The models that vote on a question, and how much each vote weighs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Self

ONE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The models that vote on the questions of an evaluator."""

    own: str | None = None
    """The one that the evaluator asks anyway, as `provider/model`. None: it is not known."""
    own_weight: Decimal = ONE
    """Of each of its votes."""
    others: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    """The weights of the others by name: each has one vote."""

    @classmethod
    def of(cls, weights: Mapping[str, Decimal], own: str | None) -> Self:
        """The panel of models with these weights and of the evaluator's own, whose weight is 1
        unless it is among them."""
        return cls(
            own=own,
            own_weight=ONE if own is None else weights.get(own, ONE),
            others={name: weight for name, weight in weights.items() if name != own},
        )

    @property
    def digest(self) -> str:
        """A digest of the models and weights, for the evaluator's version: 8 hexadecimal digits."""
        others = sorted((name, shown(weight)) for name, weight in self.others.items())
        return sha256(json.dumps([shown(self.own_weight), others]).encode()).hexdigest()[:8]


NO_PANEL = Panel()


def shown(weight: Decimal) -> str:
    """A weight as text, without zeros at its end."""
    return f"{weight.normalize():f}"
