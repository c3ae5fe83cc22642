"""A draft of an app with what a judge proposes, as far as it makes a valid document.

A judge's answer may be wrong in any way, and may repeat what somebody wrote into a conversation.
Each proposal is checked by itself in the document: one that would make it invalid is dropped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import InvalidApp, documents
from evalqueue.evaluators.apps.app import CONVERSATION_SCOPE
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.apps.drafts import Draft, DraftPart
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.quotes import SearchedTexts
from evalqueue.evaluators.proposing.answer import Proposals, ProposedIntent
from evalqueue.evaluators.proposing.sample import ShownConversations

T = TypeVar("T")

ABOUT_MAX = 3_000  # characters
TEXT_MAX = 500  # characters of a description, a rule, a question or an example
NAME_MAX = 100  # characters
_INTENTS_MAX = 50
_EXAMPLES_MAX = 5  # of an intent
_LANGUAGES_MAX = 10
_OTHERS_MAX = 10  # rules, criteria
_WHY_MAX = 300  # characters


@dataclass(frozen=True, slots=True)
class DroppedProposal:
    """A proposal that is not in the draft."""

    what: str
    why: str


@dataclass(slots=True)
class _Drafting:
    """A draft, and what was dropped on the way to it."""

    draft: Draft
    dropped: list[DroppedProposal] = field(default_factory=list[DroppedProposal])

    def drop(self, what: str, why: str) -> None:
        self.dropped.append(DroppedProposal(" ".join(what.split())[:NAME_MAX], why[:_WHY_MAX]))

    def take(self, what: str, changed: Draft, *texts: str, limit: int = TEXT_MAX) -> None:
        """Go on with a changed draft, unless it is invalid or a text in it too long.

        Args:
            what: the proposal.
            changed: the draft with it.
            texts: those that are proposed.
            limit: how many characters each of them may have.
        """
        if any(not text.strip() or len(text) > limit for text in texts):
            self.drop(what, f"a text is empty, or longer than {limit} characters")
            return
        try:
            app = documents.read(changed.as_toml(), Notation.TOML, where=changed.app_id)
            registry.check(app)
        except InvalidApp as error:
            self.drop(what, "; ".join(f"{apps.path_of(e)}: {e.msg}" for e in error.problems))
        else:
            self.draft = changed


def draft(
    recorded: Draft,
    proposals: Proposals,
    sample: ShownConversations,
    *,
    labels: Sequence[str],
    model: str,
) -> tuple[Draft, list[DroppedProposal]]:
    """The draft with the proposals in it, and those that it can't have.

    Args:
        recorded: the draft without proposals.
        proposals: of a judge.
        sample: what the judge was shown.
        labels: those on record. Empty: the intents are proposed, too.
        model: that has proposed, as `provider/model`.
    """
    drafting = _Drafting(replace(recorded, proposed_by=model))
    if proposals.about.strip():
        _about(drafting, proposals.about)
    messages = SearchedTexts(sample.messages)
    intents = _bounded(drafting, "intents", proposals.intents, _INTENTS_MAX)
    if labels:
        _describe(drafting, intents, messages)
    else:
        _name(drafting, intents, messages)
    _languages(drafting, proposals.languages)
    _rules(drafting, proposals)
    _criteria(drafting, proposals)
    return drafting.draft, drafting.dropped


def _about(drafting: _Drafting, about: str) -> None:
    changed = replace(drafting.draft, about=about.strip())
    drafting.take("about", changed, about, limit=ABOUT_MAX)


def _describe(
    drafting: _Drafting, intents: Sequence[ProposedIntent], messages: SearchedTexts
) -> None:
    """Describe the labels on record."""
    for intent in intents:
        what = f"intent {intent.name!r}"
        entries = drafting.draft.intents
        place = next((n for n, e in enumerate(entries) if e.values["name"] == intent.name), None)
        if place is None:
            drafting.drop(what, "no label on record")
            continue
        if entries[place].proposed:
            drafting.drop(what, "it is there twice")
            continue
        entry = _entry(drafting, intent, messages, proposed=("description", "examples"))
        changed = [*entries[:place], entry, *entries[place + 1 :]]
        drafting.take(what, replace(drafting.draft, intents=changed), intent.description)


def _name(drafting: _Drafting, intents: Sequence[ProposedIntent], messages: SearchedTexts) -> None:
    """Name intents. The examples of the starter stay if none can be used."""
    for intent in intents:
        there = [entry for entry in drafting.draft.intents if entry.proposed]
        entry = _entry(drafting, intent, messages, proposed=("name", "description", "examples"))
        changed = replace(drafting.draft, intents=[*there, entry], remarks=())
        drafting.take(f"intent {intent.name!r}", changed, intent.description)


def _entry(
    drafting: _Drafting, intent: ProposedIntent, messages: SearchedTexts, *, proposed: Sequence[str]
) -> DraftPart:
    """An intent with those examples that a user has written."""
    examples: list[str] = []
    for example in dict.fromkeys(intent.examples):
        if len(example) > TEXT_MAX or not example.strip() or not messages.has(example):
            drafting.drop(f"an example of {intent.name!r}", "no message of the conversations")
        elif len(examples) < _EXAMPLES_MAX:
            examples.append(example)
    return DraftPart(
        values={"name": intent.name, "description": intent.description, "examples": examples},
        proposed=proposed,
    )


def _languages(drafting: _Drafting, languages: Sequence[str]) -> None:
    codes = list(dict.fromkeys(languages))[:_LANGUAGES_MAX]
    if not codes:
        return
    values = {"name": "language", "kind": "language", "languages": codes}
    check = DraftPart(values=values, proposed=tuple(values))
    changed = replace(drafting.draft, checks=[*drafting.draft.checks, check])
    drafting.take("languages", changed, *codes, limit=NAME_MAX)


def _rules(drafting: _Drafting, proposals: Proposals) -> None:
    for rule in _bounded(drafting, "rules", proposals.rules, _OTHERS_MAX):
        values = {
            "rule_id": rule.rule_id,
            "section": rule.section,
            "text": rule.text,
            "scopes": [CONVERSATION_SCOPE],
        }
        entry = DraftPart(values=values, proposed=tuple(values))
        changed = replace(drafting.draft, rules=[*drafting.draft.rules, entry])
        what = f"rule {rule.rule_id!r}"
        drafting.take(what, changed, rule.rule_id, rule.section, rule.text)


def _criteria(drafting: _Drafting, proposals: Proposals) -> None:
    """Criteria of the catalogue, then others: questions that are answered by yes or no."""
    for name in _bounded(drafting, "catalogue", proposals.catalogue, _OTHERS_MAX):
        _criterion(drafting, name, {"use": name})
    for each in _bounded(drafting, "criteria", proposals.criteria, _OTHERS_MAX):
        output = {"kind": "boolean", "description": "whether the answer is yes"}
        _criterion(
            drafting, each.name, {"name": each.name, "prompt": each.question, "output": output}
        )


def _criterion(drafting: _Drafting, name: str, values: Mapping[str, object]) -> None:
    entry = DraftPart(values=values, proposed=tuple(values))
    changed = replace(drafting.draft, evaluators=[*drafting.draft.evaluators, entry])
    texts = [each for each in values.values() if isinstance(each, str)]
    drafting.take(f"criterion {name!r}", changed, *texts)


def _bounded(drafting: _Drafting, what: str, found: Sequence[T], limit: int) -> Sequence[T]:
    if len(found) > limit:
        drafting.drop(what, f"there are {len(found)}: the first {limit} are looked at")
    return found[:limit]
