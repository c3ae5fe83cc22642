"""An app that is drafted from a dataset, with what a judge answers to one question about it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from evalqueue.evaluators.apps import drafts
from evalqueue.evaluators.apps.drafts import Draft
from evalqueue.evaluators.datasets.store import Dataset
from evalqueue.evaluators.judging.judge import Judge, Parameters
from evalqueue.evaluators.proposing import answer, drafting
from evalqueue.evaluators.proposing.drafting import DroppedProposal
from evalqueue.evaluators.proposing.sample import ShownConversations

OF_SIMULATED = "no key is set, and the simulated judge knows no other bots"
"""Why nothing is proposed by the simulated judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftedApp:
    """A document that is not stored."""

    app_id: str
    text: str
    """As TOML."""
    proposed: Sequence[str] = ()
    """The paths of what a judge has proposed."""
    dropped: Sequence[DroppedProposal] = ()
    note: str | None = None
    """Why nothing was proposed."""

    def as_json(self) -> Mapping[str, object]:
        return {
            "app_id": self.app_id,
            "text": self.text,
            "proposed": list(self.proposed),
            "dropped": [asdict(each) for each in self.dropped],
            "note": self.note,
        }


def recorded(dataset: Dataset, app_id: str | None) -> Draft:
    """The draft without a judge."""
    app_id = app_id or drafts.id_from(dataset.name)
    return drafts.from_labels(app_id, dataset.intents, source=dataset.name)


def without(draft: Draft, note: str | None = None) -> DraftedApp:
    """The draft without a judge, and why there is none."""
    return DraftedApp(app_id=draft.app_id, text=draft.as_toml(), note=note)


async def ask(
    judge: Judge,
    draft: Draft,
    dataset: Dataset,
    shown: ShownConversations,
    *,
    model: str,
    parameters: Parameters = answer.PARAMETERS,
) -> DraftedApp:
    """The draft with what the judge proposes.

    Args:
        judge: is asked one question.
        draft: without proposals.
        dataset: what the draft is made from.
        shown: some of its conversations.
        model: that is asked, as `provider/model`.
        parameters: how it is asked.

    Raises:
        ProviderError: there is no answer.
    """
    labels = drafts.usable(dataset.intents)[: answer.LABELS_MAX]
    proposals = await judge.ask(answer.question(draft.app_id, shown, labels, parameters))
    found, dropped = drafting.draft(draft, proposals, shown, labels=labels, model=model)
    return DraftedApp(
        app_id=found.app_id,
        text=found.as_toml(),
        proposed=list(found.proposed()),
        dropped=dropped,
    )
