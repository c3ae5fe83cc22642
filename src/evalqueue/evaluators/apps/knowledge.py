"""Knowledge: texts that answers have to agree with, as a policy, a price list, opening hours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evalqueue.evaluators.definitions.closed import ClosedPart

TEXTS_MAX = 100
CHARACTERS_MAX = 50_000
"""Of all texts: they are part of every question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeText(ClosedPart):
    """A text that the bot's answers have to agree with."""

    name: str
    """What it is, as in "Returns policy"."""
    text: str


def mistakes(texts: Sequence[KnowledgeText]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Mistakes, each with its path inside the list."""
    for number, each in enumerate(texts):
        if not each.text.strip():
            yield "the text is empty", (number, "text")
    if len(texts) > TEXTS_MAX:
        yield f"{len(texts)} texts are too many: {TEXTS_MAX} at most", ()
    if (total := sum(len(each.text) for each in texts)) > CHARACTERS_MAX:
        yield (
            f"the texts have {total:,} characters, {CHARACTERS_MAX:,} at most: every question "
            "holds all of them. Keep what the bot is asked about",
            (),
        )
