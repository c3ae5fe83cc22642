"""Scores as events of Langfuse's ingestion API (`score-create`), one for each value.

A conversation is a session there. Ids are made of what a score is about, so that events that are
sent again replace the earlier ones. What was not judged has no event.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid5

from evalqueue.evaluators.results.exports import ExportedThread

_EVENT = "score-create"


def events(run_id: UUID, thread: ExportedThread) -> Iterator[Mapping[str, Any]]:
    """The events of a conversation."""
    for score in thread.scores:
        value = score["value"]
        if value is None:
            continue
        about = (thread.thread_id, score["evaluator"], score["name"], str(score["turn"]))
        score_id = str(uuid5(run_id, "\n".join(about)))
        yield {
            "id": str(uuid5(UUID(score_id), thread.created_at.isoformat())),
            "timestamp": thread.created_at.isoformat(),
            "type": _EVENT,
            "body": {
                "id": score_id,
                "sessionId": thread.thread_id,
                "name": f"{score['evaluator']}.{score['name']}",
                "value": int(value) if isinstance(value, bool) else value,
                "dataType": _data_type(value),
                "comment": score["reasoning"],
                "metadata": {
                    "run_id": str(run_id),
                    **{name: score[name] for name in ("version", "turn", "expected", "evidence")},
                },
            },
        }


def _data_type(value: object) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    return "CATEGORICAL" if isinstance(value, str) else "NUMERIC"
