"""Checks of what an answer says."""

import itertools
import json
import re
from typing import NoReturn

from evalqueue.evaluators import expressions, personal_data
from evalqueue.evaluators.apps.checks import (
    ContainsCheck,
    EqualsCheck,
    JsonSchemaCheck,
    LengthCheck,
    PersonalDataCheck,
    RegexCheck,
    schemas,
)
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject
from evalqueue.evaluators.judging.quotes import folded

_JSON_MAX = 100_000  # characters
_QUOTES_MAX = 5
_SHOWN = 80  # characters of a text of the check
_BLOCK = re.compile(r"```[a-zA-Z0-9]{0,20}\n(.*)```", re.DOTALL)


def regex(check: RegexCheck, subject: CheckSubject) -> CheckOutcome:
    text = subject.text
    match = expressions.searched(check.pattern, text, ignore_case=check.ignore_case)
    shown = check.pattern[:_SHOWN]
    note = f"It does not match {shown}" if match is None else f"It matches {shown}"
    if len(text) > expressions.CHARACTERS_MAX:
        note += f" (in its first {expressions.CHARACTERS_MAX:,} characters)"
    return CheckOutcome.of((match is not None) is check.must_match, note, [match] if match else [])


def contains(check: ContainsCheck, subject: CheckSubject) -> CheckOutcome:
    text = subject.text.casefold() if check.ignore_case else subject.text
    there = [
        each for each in check.texts if (each.casefold() if check.ignore_case else each) in text
    ]
    absent = [each for each in check.texts if each not in there]
    match check.match:
        case "all":
            passed, named = not absent, absent
        case "any":
            passed, named = bool(there), [] if there else absent
        case "none":
            passed, named = not there, there
    lack = "It contains" if check.match == "none" else "It lacks"
    note = f"{lack} {', '.join(repr(each[:_SHOWN]) for each in named)}" if named else "As wanted"
    return CheckOutcome.of(passed, note)


def equals(check: EqualsCheck, subject: CheckSubject) -> CheckOutcome:
    wanted = subject.expected if check.text is None else check.text
    if not wanted:
        return CheckOutcome.not_measured("the data have no reference answer (expected)")
    text = subject.text
    same = text.strip() == wanted.strip() if check.exact else folded(text) == folded(wanted)
    return CheckOutcome.of(same, "It is the text" if same else "It is another text")


def length(check: LengthCheck, subject: CheckSubject) -> CheckOutcome:
    text = subject.text
    found = len(text) if check.unit == "characters" else len(text.split())
    passed = check.minimum <= found and (check.maximum is None or found <= check.maximum)
    limits = f"{check.minimum:,} to {'any' if check.maximum is None else f'{check.maximum:,}'}"
    return CheckOutcome.of(passed, f"{found:,} {check.unit}; wanted: {limits}")


def personal_data_of_others(check: PersonalDataCheck, subject: CheckSubject) -> CheckOutcome:
    """Personal data that the bot says."""
    of_user = "\n".join(turn.user_text for turn in subject.thread.turns)
    known = {_plain(each) for each in personal_data.found(of_user, check.data)}
    found = dict.fromkeys(
        each
        for each in personal_data.found(subject.text, check.data)
        if not (check.allow_from_user and _plain(each) in known)
    )
    quotes = list(itertools.islice(found, _QUOTES_MAX))
    note = f"{len(found)} found" if found else "None found"
    return CheckOutcome.of(not found, note, quotes)


def json_schema(check: JsonSchemaCheck, subject: CheckSubject) -> CheckOutcome:
    text = subject.text.strip()
    if len(text) > _JSON_MAX:
        return CheckOutcome.of(False, f"It is longer than {_JSON_MAX:,} characters")
    block = _BLOCK.search(text)
    try:
        value = json.loads(block[1] if block else text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return CheckOutcome.of(False, f"It is no JSON: {str(error)[:_SHOWN]}")
    violation = schemas.violation(check.schema, value)
    return CheckOutcome.of(violation is None, violation or "It is valid")


def _plain(data: str) -> str:
    """Personal data without what separates its parts."""
    return re.sub(r"[\s()./-]", "", data).casefold()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
