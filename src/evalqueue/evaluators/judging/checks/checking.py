"""Carrying out the checks of an app."""

from collections.abc import Callable, Mapping
from typing import Any

from evalqueue.evaluators.apps.checks import (
    AnyCheck,
    ContainsCheck,
    EqualsCheck,
    JsonSchemaCheck,
    LanguageCheck,
    LatencyCheck,
    LengthCheck,
    PersonalDataCheck,
    RegexCheck,
    SumsCheck,
    ToolCalledCheck,
)
from evalqueue.evaluators.judging.checks import languages, latencies, sums, texts, tools
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject

_CARRIED_OUT: Mapping[type, Callable[[Any, CheckSubject], CheckOutcome]] = {
    RegexCheck: texts.regex,
    ContainsCheck: texts.contains,
    EqualsCheck: texts.equals,
    JsonSchemaCheck: texts.json_schema,
    LengthCheck: texts.length,
    LanguageCheck: languages.language,
    LatencyCheck: latencies.latency,
    PersonalDataCheck: texts.personal_data_of_others,
    SumsCheck: sums.sums,
    ToolCalledCheck: tools.tool_called,
}
_NOT_ABOUT_TEXT = (LatencyCheck, ToolCalledCheck)


def checked(check: AnyCheck, subject: CheckSubject) -> CheckOutcome:
    """What a check finds."""
    if not (subject.text.strip() or isinstance(check, _NOT_ABOUT_TEXT)):
        return CheckOutcome.not_applicable("the answer has no text, only tool calls")
    return _CARRIED_OUT[type(check)](check, subject)
