"""The results of a run as a log of Inspect AI, which `inspect_ai.log.read_eval_log` reads and
`inspect view` shows.

A conversation is a sample. It is written piece by piece: one conversation is in memory at a time.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.results.exports import ExportedThread
from evalqueue.evaluators.runs.reading import Run
from evalqueue.postgres.database import Connection

_VERSION = 2  # of the format
_STATUSES = {
    "completed": "success",
    "completed_with_errors": "success",
    "failed": "error",
    "cancelled": "cancelled",
}
"""By a run's status; all others have only started."""


async def pieces(
    connection: Connection, run: Run, threads: AsyncIterator[ExportedThread]
) -> AsyncIterator[str]:
    """The text of the log."""
    yield _dumped(_head(run))[:-1] + ', "samples": ['
    is_first = True
    async for thread in threads:
        turns: Sequence[Turn] = ()
        if run.dataset_id is not None:
            stored = await datasets.thread(connection, run.dataset_id, thread.thread_id)
            turns = () if stored is None else stored.turns
        yield ("" if is_first else ",") + "\n" + _dumped(_sample(thread, turns))
        is_first = False
    yield "\n]}\n"


def _head(run: Run) -> Mapping[str, Any]:
    began = run.started_at or run.created_at
    return {
        "version": _VERSION,
        "status": _STATUSES.get(run.status, "started"),
        "eval": {
            "run_id": str(run.id),
            "created": run.created_at.isoformat(),
            "task": run.name or run.command,
            "task_id": str(run.id),
            "dataset": {"name": run.dataset_id, "samples": run.total_items},
            "model": run.app_id or "chatbot",  # what is evaluated, and not the judge
            "config": {},
            "metadata": {"judge": run.llm_model, "judge_provider": run.llm_provider},
        },
        "stats": {
            "started_at": began.isoformat(),
            "completed_at": "" if run.completed_at is None else run.completed_at.isoformat(),
        },
    }


def _sample(thread: ExportedThread, turns: Sequence[Turn]) -> Mapping[str, Any]:
    messages = list(_messages(turns))
    error = None
    if thread.error is not None:
        error = {"message": thread.error, "traceback": "", "traceback_ansi": ""}
    return {
        "id": thread.thread_id,
        "epoch": 1,
        "input": turns[0].user_text if turns else "",
        "target": "",
        "messages": messages,
        "scores": _scores(thread.scores),
        "metadata": {"success": thread.success_status},
        "total_time": thread.duration_ms / 1000,
        "error": error,
    }


def _messages(turns: Iterable[Turn]) -> Iterable[Mapping[str, str]]:
    for turn in turns:
        if turn.system is not None:
            yield {"role": "system", "content": turn.system}
        yield {"role": "user", "content": turn.user_text}
        yield {"role": "assistant", "content": turn.bot_text}


def _scores(scores: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """By `evaluator.name`; those of single turns together. What was not judged is not there."""
    found: dict[str, dict[str, Any]] = {}
    for score in scores:
        name = f"{score['evaluator']}.{score['name']}"
        if score["value"] is None:
            continue
        if score["turn"] is None:
            found[name] = {
                "value": score["value"],
                "explanation": score["reasoning"],
                "metadata": {key: score[key] for key in ("version", "expected", "evidence")},
            }
        else:
            of_turns = {"value": {}, "metadata": {"version": score["version"]}}
            values = found.setdefault(f"{name} by turn", of_turns)["value"]
            values[str(score["turn"])] = score["value"]
    return found


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
