"""What the simulated provider answers: a gold label, completed from the request's JSON schema.

Where there is a gold label it is repeated (or, at a stated rate, wrong on purpose), and elsewhere
it is guessed by a few words. A stress test has no labels beforehand: there the simulated actor and
the simulated judge have rooms of their own. Everything is drawn from hashes, so the same question
gets the same answer in every run.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from evalqueue.evaluators.simulated.conversations import kaira_gold
from evalqueue.evaluators.simulated.draws import draws
from evalqueue.evaluators.simulated.users import actor, openings
from evalqueue.evaluators.simulated.vendor import adversarial_judge

Json = Mapping[str, Any]
"""A JSON object of another program, which is checked key by key."""

_GOLD_FILE = kaira_gold()


class Malformed(StrEnum):
    """The ways in which an answer is not the JSON that was asked for."""

    TRUNCATED = "truncated"
    IN_PROSE = "in_prose"
    NOT_JSON = "not_json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedQuestion:
    """What an evaluator asked, as far as it can be read from its prompt."""

    evaluator: str
    """The schema's name."""
    schema: Json
    thread_id: str | None = None
    turn: str | None = None
    user_text: str = ""
    """What the user said last."""
    prompt: str = ""

    @classmethod
    def read(cls, *, evaluator: str, schema: Json, prompt: str) -> "SimulatedQuestion":
        """Read the marker lines and the transcript, whose content is always indented."""
        thread = re.search(r'^(?:Thread|Case): (".*")$', prompt, re.MULTILINE)
        turn = re.search(r"^Turn to judge: (\d+)$", prompt, re.MULTILINE)
        said = re.findall(r"^User\b[^\n]*:\n((?: {4}.*(?:\n|$))+)", prompt, re.MULTILINE)
        return cls(
            evaluator=evaluator,
            schema=schema,
            thread_id=json.loads(thread[1]) if thread else None,
            turn=turn[1] if turn else None,
            user_text=re.sub(r"\s+", " ", said[-1]).strip() if said else "",
            prompt=prompt,
        )


class Gold:
    """Gold labels by evaluator, thread and turn; a file is read when first needed."""

    def __init__(self, source: Json | Path | None = None) -> None:
        """`None`: the labels of the bundled conversations."""
        self._source = _GOLD_FILE if source is None else source

    @cached_property
    def _labels(self) -> Json:
        if not isinstance(self._source, Path):
            return self._source
        if self._source == _GOLD_FILE and not _GOLD_FILE.exists():
            return {}
        return json.loads(self._source.read_text(encoding="utf-8"))

    def label(self, question: SimulatedQuestion) -> Json | None:
        """The label of the thread or, for a question about one turn, of the turn."""
        label = self._labels.get(question.evaluator, {}).get(question.thread_id)
        if label is not None and question.turn is not None:
            label = label.get(question.turn)
        return label


def answer(
    question: SimulatedQuestion, gold: Gold, *, error_rate: float, seed: int
) -> dict[str, object]:
    """The judge's answer: the gold label, or a plausible guess; always by the schema."""
    label = gold.label(question)
    if label is None and question.evaluator in _READ_FROM_PROMPTS:
        label = _READ_FROM_PROMPTS[question.evaluator](question)
    if label is None:
        known = _guess(question) | {"reasoning": "simulated: no gold label for this question"}
    else:
        known = dict(label)
        reasoning = str(label.get("reasoning", "as the gold label has it"))
        known["reasoning"] = f"simulated: {reasoning.removeprefix('simulated: ')}"
        wrong = _mistakes(question, label, error_rate=error_rate, seed=seed)
        if wrong:
            known |= wrong | {"reasoning": f"simulated: wrong on purpose about {', '.join(wrong)}"}
    defaults = {
        "evidence": question.user_text or "simulated",
        "confidence": 0.9,
        "recovery_quality": "NOT_NEEDED",
    }
    return _completed(question.schema, known, root=question.schema, defaults=defaults)


def spoil(text: str, way: Malformed) -> str:
    """A whole answer, made malformed."""
    match way:
        case Malformed.TRUNCATED:
            return text[: max(1, len(text) * 2 // 3)]
        case Malformed.IN_PROSE:
            return f"Here is my evaluation:\n```json\n{text}\n```\nDo you need {{more}}?"
        case Malformed.NOT_JSON:
            return "simulated: I would rather talk about this conversation than fill in a form."


_READ_FROM_PROMPTS: Mapping[str, Callable[[SimulatedQuestion], Json]] = {
    "adversarial_cases": lambda asked: {"cases": openings.cases(asked.prompt)},
    "adversarial_simulator": lambda asked: actor.act(asked.prompt, _members(asked, "tactic")),
    "adversarial": lambda asked: adversarial_judge.judge(
        asked.prompt, _members(asked, "rule_compliance", "rule_id")
    ),
}
"""Questions that are answered from what their prompts say."""


def _mistakes(
    question: SimulatedQuestion, label: Json, *, error_rate: float, seed: int
) -> dict[str, object]:
    """Wrong values for some of the labels that are members of an enum.

    Drawn by what is asked about, not by the wording: a judge with a bias keeps it.
    """
    wrong: dict[str, Any] = {}
    for name in ("predicted_agent", "query_type", "verdict"):
        others = [other for other in _members(question, name) if other != label.get(name)]
        about = (seed, question.evaluator, question.thread_id, question.turn, name)
        errs, which = draws(*about, count=2)
        if name in label and others and errs < error_rate:
            wrong[name] = others[int(which * len(others))]
    return wrong


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
    """For each label with a menu of names: the member whose words fit best what the user said."""
    said = set(re.findall(r"[a-z]+", question.user_text.lower()))
    guess: dict[str, Any] = {}
    for name in ("predicted_agent", "query_type"):
        members = _members(question, name)
        if members:
            guess[name] = max(members, key=lambda member: _fit(member, said))
    return guess


def _fit(member: str, said: set[str]) -> float:
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", member)}
    hits = sum(word in said or bool(_HINTS.get(word, set()) & said) for word in words)
    return hits + (0.5 if "general" in words else 0.0)


def _members(question: SimulatedQuestion, *path: str) -> list[str]:
    """The menu of a field; a field of a list's items is named after the list."""
    node = question.schema
    for name in path:
        node = _resolved(node.get("items", node), question.schema)
        node = _resolved(node.get("properties", {}).get(name, {}), question.schema)
    return [str(member) for member in node.get("enum", [])]


def _completed(schema: Json, known: object, *, root: Json, defaults: Json) -> Any:
    """What is known, with every property that the schema wants and none that it does not."""
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
    return cast(Any, known)  # JSON, by the gold label


_PLAIN: Json = {"array": [], "boolean": True, "integer": 0, "number": 0.0}


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
    plain = _PLAIN.get(str(kind), "simulated")
    if kind in {"integer", "number"}:
        plain = node.get("minimum", plain)
    return preferred if isinstance(preferred, type(plain)) else plain


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
