"""Some conversations of a batch, and the lengths of the prompts that evaluators make for them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.formats import Message
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite
from evalqueue.postgres.database import Connection

SAMPLE_THREADS = 10
_MAX_TURNS = 200
"""Of one conversation of a file."""


@dataclass(slots=True)
class PromptLengths:
    """Characters of the prompts that an evaluator makes for some conversations."""

    texts: list[int] = field(default_factory=list[int])
    """Of system text and prompt, by conversation."""
    schemas: list[int] = field(default_factory=list[int])
    calls: int = 0
    errors: list[str] = field(default_factory=list[str])
    """Classes of errors that it raised, by conversation: their prompts are not known."""


async def of_dataset(
    connection: Connection, dataset_id: str, thread_ids: Sequence[str]
) -> list[Thread]:
    """Some conversations of a dataset, spread evenly over those that are named."""
    step = max(1, len(thread_ids) // SAMPLE_THREADS)
    found = [
        await datasets.thread(connection, dataset_id, thread_id)
        for thread_id in thread_ids[::step][:SAMPLE_THREADS]
    ]
    return [thread for thread in found if thread is not None]


class FileSample:
    """The first conversations of a file that is being read."""

    def __init__(self) -> None:
        self._messages: dict[str, list[Message]] = {}

    def take(self, message: Message) -> None:
        """The next message of the file."""
        messages = self._messages.get(message.thread_id)
        if messages is None:
            if len(self._messages) == SAMPLE_THREADS:
                return
            messages = self._messages[message.thread_id] = []
        if len(messages) < _MAX_TURNS:
            messages.append(message)

    @property
    def threads(self) -> list[Thread]:
        return [
            Thread(
                thread_id=thread_id,
                user_id=messages[0].user_id,
                turns=tuple(each.turn(number) for number, each in enumerate(messages, start=1)),
            )
            for thread_id, messages in self._messages.items()
        ]


async def prompt_lengths(
    threads: Sequence[Thread], evaluators: Sequence[Evaluator]
) -> Mapping[str, PromptLengths]:
    """The lengths of the prompts that evaluators would send, by evaluator; none is sent.

    An evaluator whose questions depend on earlier answers shows only its first ones.
    """
    found: dict[str, PromptLengths] = {}
    for evaluator in evaluators:
        lengths = found[evaluator.declaration.name] = PromptLengths()
        for thread in threads:
            counter = _PromptCounter()
            try:
                await evaluator.evaluate(thread, Judge(counter))
            except Exception as error:  # another package's code may raise anything
                lengths.errors.append(type(error).__name__)
                continue
            lengths.texts.append(counter.characters)
            lengths.schemas.append(counter.schema_characters)
            lengths.calls += counter.calls
    return found


class _PromptCounter:
    """Counts the characters of questions, and answers none."""

    def __init__(self) -> None:
        self.characters = 0
        self.schema_characters = 0
        self.calls = 0

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        self.calls += 1
        self.characters += len(request.system) + len(request.prompt)
        self.schema_characters += len(json.dumps(request.schema))
        raise ProviderError(CallOutcome.BAD_REQUEST, "not sent")

    def note_read(self, request: CompletionRequest) -> None:
        """Nothing is answered."""

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        """Nothing is answered."""
