"""Whether a model's answers can be read: one that never writes what is asked stops the job.

Without this, each question of a batch would be paid for twice: the answer, and its repair.
"""

from evalqueue.evaluators.personal_data import without_any
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError

_SHOWN_CHARACTERS = 160


class Readings:
    """What became of the answers of one model in one job."""

    def __init__(self, *, answers: int, threads: int) -> None:
        """Of so many answers, about so many threads, at least one has to be readable."""
        self._least_answers = answers
        self._least_threads = threads
        self._unread = 0
        self._threads: set[str | None] = set()
        self._is_any_read = False

    def note_read(self) -> None:
        """Note that an answer could be read. From now on, the others stop nothing."""
        self._is_any_read = True

    def note_unread(self, thread: str | None, model: str, answer: str, fault: str) -> None:
        """Note that an answer could not be read.

        Args:
            thread: what the question was about.
            model: as `provider/model`.
            answer: the model's text.
            fault: why it can't be read.

        Raises:
            ProviderError: no answer of the model could be read so far. It stops the job.
        """
        self._unread += 1
        self._threads.add(thread)
        if (
            self._is_any_read
            or self._unread < self._least_answers
            or len(self._threads) < self._least_threads
        ):
            return
        error = ProviderError(
            CallOutcome.SCHEMA_INVALID,
            f"{model} has given no answer that can be read: {self._unread} answers, about "
            f"{len(self._threads)} conversations. The last one: {_excerpt(answer)} ({fault}) "
            "Mend the endpoint and retry, or submit with another llm_model, or with "
            "model_settings that make it write JSON.",
            answer=answer,
        )
        error.stops_the_job = True
        raise error


def _excerpt(answer: str) -> str:
    """The beginning of an answer, which may quote the conversation, without personal data."""
    text = " ".join(without_any(answer[: 2 * _SHOWN_CHARACTERS]).split())
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")
