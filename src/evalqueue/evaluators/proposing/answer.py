"""What a judge is asked for a draft of an app, and the form of its answer."""

import json
from collections.abc import Sequence
from typing import Annotated

from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.judging import prompts
from evalqueue.evaluators.judging.answers import Answer, Form, Menu
from evalqueue.evaluators.judging.judge import Parameters, Question
from evalqueue.evaluators.judging.transcript import quoted
from evalqueue.evaluators.proposing.sample import ShownConversations
from evalqueue.evaluators.providers.recorder import CallSite

NAME = "app_proposals"
LABELS_MAX = 50
"""Labels on record that a judge is asked to describe: the most frequent ones."""
PARAMETERS = Parameters(max_output_tokens=8_192)
_LABELLED = "Describe the labels listed before the conversations, spelt exactly so, and no others."
_UNLABELLED = "No labels are on record: name at most twelve, in CamelCase."


class ProposedIntent(Answer):
    """A label, and which messages belong to it."""

    name: Annotated[str, Menu("labels", enforced=False)]
    description: str
    examples: list[str]


class ProposedRule(Answer):
    """What the bot has to do."""

    rule_id: str
    section: str
    text: str


class ProposedCriterion(Answer):
    """A question about a conversation. Yes is good."""

    name: str
    question: str


class Proposals(Answer):
    """What a judge proposes."""

    about: str
    languages: list[str]
    intents: list[ProposedIntent]
    rules: list[ProposedRule]
    catalogue: list[Annotated[str, Menu("catalogue", enforced=False)]]
    criteria: list[ProposedCriterion]


def question(
    app_id: str, sample: ShownConversations, labels: Sequence[str], parameters: Parameters
) -> Question[Proposals]:
    """What is asked.

    Args:
        app_id: of the new app.
        sample: the conversations that are shown.
        labels: those on record that are to be described.
        parameters: how it is asked.
    """
    known = [catalogue.load(name) for name in catalogue.names()]
    listed = "\n".join(json.dumps(each, ensure_ascii=False) for each in labels)
    text = prompts.load(NAME).render(
        catalogue="\n".join(f"- {each.name}: {each.question}" for each in known),
        intents=_LABELLED if labels else _UNLABELLED,
        labels=f"Labels on record:\n\n{quoted('labels', listed)}" if labels else "",
        count=str(sample.threads),
        conversations=sample.shown,
    )
    menus = {"labels": tuple(labels), "catalogue": catalogue.names()}
    return Question(
        site=CallSite(evaluator=NAME, label=app_id),
        text=text,
        form=Form(Proposals, menus),
        parameters=parameters,
    )
