"""A situation: a request, and the answer that a well-behaved vendor would give."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evalqueue.evaluators.simulated.vendor.answers import Json
from evalqueue.evaluators.simulated.vendor.protocols.protocol import VendorReply, VendorRequest

PREFIX = "situation-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A request in a situation."""

    call: VendorRequest
    answer: Json
    """The right answer."""
    previous_requests: int
    """The number of earlier equal requests."""

    @property
    def text(self) -> str:
        return json.dumps(self.answer)

    @property
    def draft(self) -> str:
        """Another answer that fits: what a model weighs before it decides."""
        draft = dict(self.answer)
        for name, schema in self.call.question.schema.get("properties", {}).items():
            others = [each for each in schema.get("enum", []) if each != draft.get(name)]
            if others:
                draft[name] = others[0]
        return json.dumps(draft)

    @property
    def respelled(self) -> str:
        """The right answer with its labels in lower case, as small models write them."""
        properties = self.call.question.schema.get("properties", {})
        labels = {name for name, schema in properties.items() if "enum" in schema}
        return json.dumps(
            {
                name: value.lower().replace(" ", "_") if name in labels else value
                for name, value in self.answer.items()
            }
        )

    @property
    def is_first(self) -> bool:
        return self.previous_requests == 0


Reply = Callable[[Situation], VendorReply]


def reply(replies: Mapping[str, Reply], situation: Situation) -> VendorReply | None:
    """The reply in the situation that the model's name asks for. None: it asks for none."""
    model = situation.call.model
    found = replies.get(model.removeprefix(PREFIX)) if model.startswith(PREFIX) else None
    return found(situation) if found else None
