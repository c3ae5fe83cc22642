"""Mistakes in definitions that their types don't exclude, each with its place and its cure."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from evalqueue.errors import Problem
from evalqueue.evaluators.definitions import templates
from evalqueue.evaluators.definitions.definition import (
    Choice,
    EvaluatorDefinition,
    Example,
    JudgedUnit,
    LongConversations,
    Output,
    OutputKind,
    TurnPart,
    Verdict,
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,38}")
_TITLE_MAX = 100  # characters
_LABEL_MAX = 60  # characters
_LABELS_MAX = 50
_EXAMPLES_MAX = 20
_GOLD_MAX = 100
_CONTEXT_MAX = 50  # turns
_MAX_TEMPERATURE = 2
_MIN_OUTPUT_TOKENS = 16
_MAX_OUTPUT_TOKENS = 1_000_000
MAX_VOTES = 15
_MODEL = re.compile(r"[a-z_]{1,50}/\S{1,200}")
_ONLY = {
    OutputKind.CATEGORY: ("labels", "good", "bad", "neutral", "ordered"),
    OutputKind.NUMBER: ("minimum", "maximum"),
}
"""The keys that only this kind of output has."""
_RECORDED = (TurnPart.SYSTEM, TurnPart.CONTEXT, TurnPart.TOOLS, TurnPart.ERRORS)


def mistakes(definition: EvaluatorDefinition) -> Iterator[Problem]:
    """The mistakes in a definition."""
    if not _NAME.fullmatch(definition.name):
        msg = "use small letters, digits and '_', 39 at most, a letter first, as in tone_of_voice"
        yield _mistake(msg, "name")
    if len(definition.title) > _TITLE_MAX:
        yield _mistake(f"it is longer than {_TITLE_MAX} characters: shorten it", "title")
    if not definition.prompt.strip():
        yield _mistake("it is empty: say what the judge is to decide", "prompt")
    yield from (
        _mistake(msg, "prompt") for msg in templates.mistakes(definition.prompt, definition.scope)
    )
    yield from _output_mistakes(definition.output)
    yield from _shown_mistakes(definition)
    yield from (_mistake(msg, "long_conversations") for msg in _length_mistakes(definition))
    yield from _applies_mistakes(definition)
    yield from _rule_mistakes(definition)
    yield from _example_mistakes(definition)
    yield from _parameter_mistakes(definition)
    if definition.scope is JudgedUnit.PAIR:
        yield from _pair_mistakes(definition)


def fits(verdict: Verdict, output: Output) -> bool:
    """Whether a verdict is one that can be given."""
    match output.kind:
        case OutputKind.CATEGORY:
            return isinstance(verdict, str) and verdict in output.label_names
        case OutputKind.BOOLEAN:
            return isinstance(verdict, bool)
        case OutputKind.NUMBER:
            return (
                not isinstance(verdict, bool | str)
                and output.minimum is not None
                and output.maximum is not None
                and output.minimum <= verdict <= output.maximum
            )


def _output_mistakes(output: Output) -> Iterator[Problem]:
    for kind, keys in _ONLY.items():
        for key in keys if output.kind is not kind else ():
            if getattr(output, key) not in (None, False, ()):
                msg = f"only a {kind} has it, and this is a {output.kind}: remove it"
                yield _mistake(msg, "output", key)
    if output.kind is OutputKind.CATEGORY:
        yield from _label_mistakes(output)
    if output.kind is OutputKind.NUMBER:
        yield from _range_mistakes(output)


def _range_mistakes(output: Output) -> Iterator[Problem]:
    low, high = output.minimum, output.maximum
    if low is None or high is None:
        msg = "a number needs its range: give minimum and maximum"
        yield _mistake(msg, "output", "minimum" if low is None else "maximum")
    elif not (math.isfinite(low) and math.isfinite(high) and low < high):
        yield _mistake("it must be more than minimum", "output", "maximum")


def _label_mistakes(output: Output) -> Iterator[Problem]:
    names = output.label_names
    if not 2 <= len(names) <= _LABELS_MAX:  # noqa: PLR2004  with one there is nothing to decide
        yield _mistake(
            f"a category has 2 to {_LABELS_MAX} labels: it has {len(names)}", "output", "labels"
        )
    for number, name in enumerate(names):
        if not name.strip() or len(name) > _LABEL_MAX or name != " ".join(name.split()):
            msg = f"a name has 1 to {_LABEL_MAX} characters, without spaces around it"
            yield _mistake(msg, "output", "labels", number, "name")
    for name in _twice(map(_folded, names)):
        msg = f"two labels differ in nothing but case, spaces, '-' and '_': {name}. Rename one"
        yield _mistake(msg, "output", "labels")
    for key in ("good", "bad", "neutral"):
        listed: Sequence[str] = getattr(output, key)
        for number, name in enumerate(listed):
            if name not in names:
                msg = f"{name!r} is no label. Labels: {', '.join(names)}"
                yield _mistake(msg, "output", key, number)
    for name in _twice([*output.good, *output.bad, *output.neutral]):
        yield _mistake(f"{name!r} is there twice in good, bad and neutral: leave one", "output")


def _shown_mistakes(definition: EvaluatorDefinition) -> Iterator[Problem]:
    if not {TurnPart.USER, TurnPart.BOT}.intersection(definition.shows):
        yield _mistake("the judge must see user or bot: add one of them", "shows")
    if not 0 <= definition.context_turns <= _CONTEXT_MAX:
        yield _mistake(f"it must be 0 to {_CONTEXT_MAX}", "context_turns")


def _length_mistakes(definition: EvaluatorDefinition) -> Iterator[str]:
    rule, output = definition.long_conversations, definition.output
    if rule is LongConversations.NO_VERDICT:
        return
    if definition.scope is not JudgedUnit.CONVERSATION:
        yield "only of scope conversation, one is judged in parts: remove it"
    if rule is LongConversations.MEAN and output.kind is not OutputKind.NUMBER:
        yield f"only a number has a mean, and this is a {output.kind}: use worst, best or last"
    if rule in {LongConversations.WORST, LongConversations.BEST} and not output.is_ranked:
        yield f"no label is better than another: give good or bad, or order them, for {rule}"


def _applies_mistakes(definition: EvaluatorDefinition) -> Iterator[Problem]:
    when = definition.applies_when
    for number, part in enumerate(when.has):
        if part not in _RECORDED:
            msg = f"every turn has it: remove it. There are {', '.join(_RECORDED)}"
            yield _mistake(msg, "applies_when", "has", number)
    for key in ("bot_says", "user_says"):
        texts: Sequence[str] = getattr(when, key)
        for number, text in enumerate(texts):
            if not text.strip() or text != text.lower():
                yield _mistake(
                    f"{text!r} must be lower case and not empty", "applies_when", key, number
                )
    if when.min_turns < 1:
        yield _mistake("it must be 1 or more", "applies_when", "min_turns")


def _rule_mistakes(definition: EvaluatorDefinition) -> Iterator[Problem]:
    for number, rule in enumerate(definition.rules):
        if not rule.rule_id.strip() or not rule.text.strip():
            yield _mistake("a rule needs a rule_id and a text", "rules", number)
    for name in _twice(rule.rule_id for rule in definition.rules):
        yield _mistake(f"{name!r} is there twice: give each a rule_id of its own", "rules")


def _example_mistakes(definition: EvaluatorDefinition) -> Iterator[Problem]:
    most = {"examples": _EXAMPLES_MAX, "gold": _GOLD_MAX}
    for key, limit in most.items():
        cases: Sequence[Example] = getattr(definition, key)
        if len(cases) > limit:
            yield _mistake(f"there are {len(cases)}: {limit} are allowed", key)
        for number, case in enumerate(cases):
            if not case.turns:
                yield _mistake("it needs at least one turn", key, number, "turns")
            if not fits(case.verdict, definition.output):
                msg = f"{case.verdict!r} can't be the verdict. It is {_choices(definition.output)}"
                yield _mistake(msg, key, number, "verdict")


def _choices(output: Output) -> str:
    match output.kind:
        case OutputKind.CATEGORY:
            return f"one of {', '.join(output.label_names)}"
        case OutputKind.BOOLEAN:
            return "true or false"
        case OutputKind.NUMBER:
            return f"a number from {output.minimum} to {output.maximum}"


def _parameter_mistakes(definition: EvaluatorDefinition) -> Iterator[Problem]:
    parameters = definition.parameters
    if parameters.temperature is not None and not 0 <= parameters.temperature <= _MAX_TEMPERATURE:
        yield _mistake("it must be 0 to 2", "parameters", "temperature")
    tokens = parameters.max_output_tokens
    if tokens is not None and not _MIN_OUTPUT_TOKENS <= tokens <= _MAX_OUTPUT_TOKENS:
        yield _mistake("it must be 16 to 1000000", "parameters", "max_output_tokens")
    if parameters.model is not None and not _MODEL.fullmatch(parameters.model):
        yield _mistake("write provider/model, as in openai/gpt-4.1", "parameters", "model")
    if parameters.votes is not None and not 1 <= parameters.votes <= MAX_VOTES:
        yield _mistake(f"it must be 1 to {MAX_VOTES}", "parameters", "votes")


def _pair_mistakes(definition: EvaluatorDefinition) -> Iterator[Problem]:
    labels = definition.output.label_names
    if not {Choice.FIRST, Choice.SECOND} <= {*labels} <= {*Choice}:
        msg = f"of scope pair they are {', '.join(Choice)}; {Choice.TIE} can be left out"
        yield _mistake(msg, "output", "labels")
    if TurnPart.BOT not in definition.shows:
        yield _mistake("of scope pair the judge must see both answers: add bot", "shows")
    if definition.output.ordered:
        yield _mistake("of scope pair they have no order: remove it", "output", "ordered")
    if definition.rules:
        yield _mistake("of scope pair no rules are asked about: remove them", "rules")
    for key in ("examples", "gold"):
        cases: Sequence[Example] = getattr(definition, key)
        for number, case in enumerate(cases):
            if all(turn.alternative is None for turn in case.turns):
                msg = "of scope pair a turn needs an alternative, the second answer"
                yield _mistake(msg, key, number, "turns")


def _folded(label: str) -> str:
    """What a judge may spell otherwise is left out."""
    return "".join(label.lower().split()).replace("_", "").replace("-", "")


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def _mistake(msg: str, *path: str | int) -> Problem:
    return Problem(loc=path, msg=msg)
