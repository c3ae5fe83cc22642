"""The form of the answer to a defined evaluator: evidence, then reasoning, then the verdict."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, create_model

from evalqueue.evaluators.apps import Rule
from evalqueue.evaluators.definitions.definition import Output, OutputKind
from evalqueue.evaluators.judging import rules as _rules
from evalqueue.evaluators.judging import transcript
from evalqueue.evaluators.judging.answers import Answer, Form, Menu

_LABELS = "labels"
_Reasoning = Annotated[str, Field(description="two or three sentences")]


class DefinedAnswer(Answer):
    """What the judge says; `verdict` is narrowed to the output."""

    evidence: list[transcript.Quote]
    reasoning: _Reasoning
    verdict: str | float | bool


class DefinedAnswerWithRules(Answer):
    """Likewise, where there are rules."""

    evidence: list[transcript.Quote]
    rule_compliance: Annotated[
        list[_rules.RuleFinding], Field(description="one entry for every rule")
    ]
    reasoning: _Reasoning
    verdict: str | float | bool


AnyDefinedAnswer = DefinedAnswer | DefinedAnswerWithRules


def form_of(
    output: Output, rules: Sequence[Rule]
) -> Form[DefinedAnswer] | Form[DefinedAnswerWithRules]:
    """The form of an answer."""
    menus = {_LABELS: output.label_names, _rules.RULES_MENU: _rules.rule_ids(rules)}
    if rules:
        return Form(
            create_model("Judged", __base__=DefinedAnswerWithRules, verdict=_of(output)), menus
        )
    return Form(create_model("Judged", __base__=DefinedAnswer, verdict=_of(output)), menus)


def _of(output: Output) -> Any:
    """The field of the verdict: it is read as a value of this kind, and nothing else."""
    match output.kind:
        case OutputKind.CATEGORY:
            return Annotated[str, Menu(_LABELS)]
        case OutputKind.BOOLEAN:
            return bool
        case OutputKind.NUMBER:
            words = f"between {output.minimum:g} and {output.maximum:g}"
            return Annotated[float, Field(ge=output.minimum, le=output.maximum, description=words)]
