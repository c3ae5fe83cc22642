"""The shapes that records may have, and how a record's shape is found."""

from collections.abc import Sequence

from evalqueue.evaluators.formats.shapes import Object, ScatteredShape, Shape
from evalqueue.evaluators.formats.shapes.known.arena import ARENA
from evalqueue.evaluators.formats.shapes.known.chat import CHAT
from evalqueue.evaluators.formats.shapes.known.exchange import EXCHANGE
from evalqueue.evaluators.formats.shapes.known.gemini import GEMINI
from evalqueue.evaluators.formats.shapes.known.inspect import INSPECT_LOG, INSPECT_SAMPLE
from evalqueue.evaluators.formats.shapes.known.openai_batch import OPENAI_BATCH
from evalqueue.evaluators.formats.shapes.known.openai_responses import OPENAI_RESPONSES
from evalqueue.evaluators.formats.shapes.known.question_answer import QUESTION_ANSWER
from evalqueue.evaluators.formats.shapes.known.spans import OPEN_INFERENCE, OTLP
from evalqueue.evaluators.formats.shapes.known.trees import CHATGPT, OASST_MESSAGES, OASST_TREE

SHAPES: Sequence[Shape | ScatteredShape] = (
    OPENAI_BATCH,
    OTLP,
    INSPECT_LOG,
    INSPECT_SAMPLE,
    OPEN_INFERENCE,
    OASST_TREE,
    OASST_MESSAGES,
    CHATGPT,
    ARENA,
    GEMINI,
    OPENAI_RESPONSES,
    CHAT,
    EXCHANGE,
    QUESTION_ANSWER,
)
"""The first that recognises a record reads it: a shape stands before more general ones."""


def shape_of(record: Object) -> Shape | ScatteredShape | None:
    """The shape of a record. None: it is not known."""
    return next((each for each in SHAPES if each.recognises(record)), None)
