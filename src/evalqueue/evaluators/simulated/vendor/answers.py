"""The answers of the simulated vendor: a gold label, completed from the request's JSON schema.

A question with a gold label gets that label, or a wrong one at a configured rate. Without a label
the question is not judged, or the answer is guessed from key words. Adversarial tests have no gold
labels: `openings` generates their cases, `replies` plays the user, `adversarial_judge` judges.
Random choices come from hashes, so the same question gets the same answer in every run.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from evalqueue.evaluators.simulated.conversations import kaira_gold
from evalqueue.evaluators.simulated.draws import draws
from evalqueue.evaluators.simulated.users import openings, replies
from evalqueue.evaluators.simulated.vendor import adversarial_judge

Json = Mapping[str, Any]
"""A JSON object from another program, checked key by key."""

_GOLD_FILE = kaira_gold()


NO_KEY_SET = "not judged: no key set"
NOT_JUDGED = (
    f"{NO_KEY_SET}. The simulated judge has no gold label for this. Set the key of an LLM "
    "vendor where the worker runs, or give gold labels to evalqueue simulate"
)
"""Why there is no answer to a question without a gold label."""


class Malformed(StrEnum):
    """How an answer differs from the requested JSON."""

    TRUNCATED = "truncated"
    IN_PROSE = "in_prose"
    NOT_JSON = "not_json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedQuestion:
    """An evaluator's question, parsed from its prompt."""

    evaluator: str
    """The schema's name."""
    schema: Json
    thread_id: str | None = None
    turn: str | None = None
    user_text: str = ""
    """The last message of the user."""
    part: str | None = None
    """The first turn of the part that is shown. None: the whole conversation."""
    prompt: str = ""

    @classmethod
    def read(cls, *, evaluator: str, schema: Json, prompt: str) -> "SimulatedQuestion":
        """Parse the marker lines and the transcript, whose content is always indented."""
        thread = re.search(r'^(?:Thread|Case): (".*")$', prompt, re.MULTILINE)
        turn = re.search(r"^Turn to judge: (\d+)$", prompt, re.MULTILINE)
        part = re.search(r"^Shown is a part: turns (\d+) ", prompt, re.MULTILINE)
        messages = re.findall(r"^User\b[^\n]*:\n((?: {4}.*(?:\n|$))+)", prompt, re.MULTILINE)
        return cls(
            evaluator=evaluator,
            schema=schema,
            thread_id=json.loads(thread[1]) if thread else None,
            turn=turn[1] if turn else None,
            user_text=re.sub(r"\s+", " ", messages[-1]).strip() if messages else "",
            part=part[1] if part else None,
            prompt=prompt,
        )


class Gold:
    """Gold labels by evaluator, thread and turn. A file is read on first use.

    A label can have `parts`: other labels, by the first turn of a part of the conversation.
    """

    def __init__(self, source: Json | Path | None = None) -> None:
        """None: the labels of the bundled conversations."""
        self._source = _GOLD_FILE if source is None else source

    @cached_property
    def _labels(self) -> Json:
        if not isinstance(self._source, Path):
            return self._source
        if self._source == _GOLD_FILE and not _GOLD_FILE.exists():
            return {}
        return json.loads(self._source.read_text(encoding="utf-8"))

    def label(self, question: SimulatedQuestion) -> Json | None:
        """The label of the thread, or of the turn if the question is about one turn."""
        label = self._labels.get(question.evaluator, {}).get(question.thread_id)
        if label is not None and question.turn is not None:
            label = label.get(question.turn)
        if label is not None and question.part is not None:
            label = label.get("parts", {}).get(question.part, label)
        return label


def can_judge(question: SimulatedQuestion, gold: Gold) -> bool:
    """Whether an answer is more than a guess."""
    return question.evaluator in _ANSWERS_BY_PROMPT or gold.label(question) is not None


def answer(
    question: SimulatedQuestion,
    gold: Gold,
    *,
    error_rate: float,
    seed: int,
    flip_rate: float = 0.0,
    repetition: int = 0,
) -> dict[str, object]:
    """The judge's answer, which always follows the schema: the gold label or a plausible guess.

    Args:
        question: what to answer.
        gold: the labels.
        error_rate: the share of labels to get wrong, from 0 to 1.
        seed: another seed gets other labels wrong.
        flip_rate: the share of labels to get wrong besides, by chance each time.
        repetition: how often the question was asked before.
    """
    label = gold.label(question)
    if label is None and question.evaluator in _ANSWERS_BY_PROMPT:
        label = _ANSWERS_BY_PROMPT[question.evaluator](question)
    if label is None:
        known = _guess(question) | {"reasoning": "simulated: no gold label for this question"}
    else:
        known = dict(label)
        reasoning = str(label.get("reasoning", "as the gold label has it"))
        known["reasoning"] = f"simulated: {reasoning.removeprefix('simulated: ')}"
        mistakes = _mistakes(question, label, error_rate=error_rate, about=[seed])
        mistakes |= _mistakes(question, label, error_rate=flip_rate, about=[seed, repetition])
        if mistakes:
            known |= mistakes | {
                "reasoning": f"simulated: wrong on purpose about {', '.join(mistakes)}"
            }
    defaults = {
        "evidence": question.user_text or "simulated",
        "confidence": 0.9,
        "recovery_quality": "NOT_NEEDED",
    }
    return _completed(question.schema, known, root=question.schema, defaults=defaults)


def make_malformed(text: str, kind: Malformed) -> str:
    """Damage a complete answer."""
    match kind:
        case Malformed.TRUNCATED:
            return text[: max(1, len(text) * 2 // 3)]
        case Malformed.IN_PROSE:
            return f"Here is my evaluation:\n```json\n{text}\n```\nDo you need {{more}}?"
        case Malformed.NOT_JSON:
            return "simulated: I would rather talk about this conversation than fill in a form."


_ANSWERS_BY_PROMPT: Mapping[str, Callable[[SimulatedQuestion], Json]] = {
    "adversarial_cases": lambda question: {"cases": openings.generate_cases(question.prompt)},
    "adversarial_simulator": lambda question: replies.respond(
        question.prompt, _members(question, "tactic")
    ),
    "adversarial": lambda question: adversarial_judge.judge(
        question.prompt, _members(question, "rule_compliance", "rule_id")
    ),
}
"""Answers to the questions of adversarial tests, by evaluator."""


def _mistakes(
    question: SimulatedQuestion, label: Json, *, error_rate: float, about: Sequence[int]
) -> dict[str, object]:
    """Wrong values for some of the labels that are members of an enum.

    The draw depends on the thread and turn, not on the wording of the prompt, so that a retry
    repeats the mistake.
    """
    mistakes: dict[str, Any] = {}
    for name in ("predicted_agent", "query_type", "verdict"):
        others = [other for other in _members(question, name) if other != label.get(name)]
        site = (question.evaluator, question.thread_id, question.turn, name)
        error_draw, choice_draw = draws(*about, *site, count=2)
        if name in label and others and error_draw < error_rate:
            mistakes[name] = others[int(choice_draw * len(others))]
    return mistakes


_HINTS = {
    "greeting": {"hi", "hello", "hey", "thanks", "bye"},
    "food": {"ate", "eat", "had", "meal", "breakfast", "lunch", "dinner", "snack", "calories"},
    "logging": {"ate", "had", "log", "add", "drank"},
    "cgm": {"glucose", "sugar", "spike"},
    "insight": {"why", "how", "should", "better"},
    "question": {"what", "why", "how", "should", "can", "is"},
    "order": {"order", "parcel", "package", "delivery", "delivered"},
    "return": {"return", "refund", "exchange"},
}


def _guess(question: SimulatedQuestion) -> dict[str, object]:
    """For each label with an enum: the member whose words match the user's message best."""
    user_words = set(re.findall(r"[a-z]+", question.user_text.lower()))
    guess: dict[str, Any] = {}
    for name in ("predicted_agent", "query_type"):
        members = _members(question, name)
        if members:
            guess[name] = max(members, key=lambda member: _fit(member, user_words))
    return guess


def _fit(member: str, user_words: set[str]) -> float:
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", member)}
    hits = sum(word in user_words or bool(_HINTS.get(word, set()) & user_words) for word in words)
    return hits + (0.5 if "general" in words else 0.0)


def _members(question: SimulatedQuestion, *path: str) -> list[str]:
    """The enum members of a field. A path goes through lists to the fields of their items."""
    node = question.schema
    for name in path:
        node = _resolved(node.get("items", node), question.schema)
        node = _resolved(node.get("properties", {}).get(name, {}), question.schema)
    return [str(member) for member in node.get("enum", [])]


def _completed(schema: Json, known: object, *, root: Json, defaults: Json) -> Any:
    """The known values, completed to exactly the properties of the schema."""
    node = _resolved(schema, root)
    if isinstance(known, Mapping) and "properties" in node:
        fields = cast(Json, known)
        return {
            name: _completed(child, fields[name], root=root, defaults=defaults)
            if name in fields
            else _default(name, child, root=root, defaults=defaults)
            for name, child in node["properties"].items()
        }
    if isinstance(known, list) and "items" in node:
        items = cast(list[Any], known)
        return [_completed(node["items"], item, root=root, defaults=defaults) for item in items]
    return cast(Any, known)  # JSON from the gold label


_DEFAULT_BY_TYPE: Json = {"array": [], "boolean": True, "integer": 0, "number": 0.0}


def _default(name: str, schema: Json, *, root: Json, defaults: Json) -> Any:
    if _nullable(schema):
        return None
    node = _resolved(schema, root)
    preferred = defaults.get(name)
    if "enum" in node:
        members = node["enum"]
        return preferred if preferred in members else members[0]
    kind = node.get("type")
    if kind == "object":
        return _completed(node, {}, root=root, defaults=defaults)
    default = _DEFAULT_BY_TYPE.get(str(kind), "simulated")
    if kind in {"integer", "number"}:
        default = node.get("minimum", default)
    return preferred if isinstance(preferred, type(default)) else default


def _nullable(schema: Json) -> bool:
    kinds = schema.get("type")
    return (isinstance(kinds, list) and "null" in kinds) or {"type": "null"} in schema.get(
        "anyOf", []
    )


def _resolved(schema: Json, root: Json) -> Json:
    """The schema behind a local `$ref`, and behind `X | null`."""
    reference = schema.get("$ref")
    if reference is not None:
        node: Json = root
        for step in str(reference).removeprefix("#/").split("/"):
            node = node[step]
        return _resolved(node, root)
    for branch in schema.get("anyOf", []):
        if branch != {"type": "null"}:
            return _resolved(branch, root)
    return schema
