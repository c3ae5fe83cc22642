"""The params of a job about the votes on its questions, and the check of those at submission."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.definitions.validation import MAX_VOTES
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.problems import Written

ModelName = Annotated[
    str,
    Written(r"^[a-z_]{1,50}/\S{1,200}$", "the provider, a slash and the model: openai/gpt-4.1"),
]
Votes = Annotated[int, Field(ge=1, le=MAX_VOTES)]
Weight = Annotated[Decimal, Field(gt=0, le=1000, decimal_places=6, allow_inf_nan=False)]


class VoteParams(BaseModel):
    """How often a question is asked, and of which models besides the job's."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    votes: dict[str, Votes] = Field(default_factory=dict[str, Votes], max_length=100)
    """How often each question of an evaluator is asked, by its name: `{"efficiency": 3}`. The
    answer of the majority counts; without one there is no verdict (`undecided`)."""
    second_model: ModelName | None = None
    """The model that is asked, too, where the votes on a question differ: `openai/gpt-4.1`. Its
    answer is one vote more."""
    panel: dict[ModelName, Weight] = Field(default_factory=dict[ModelName, Weight], max_length=7)
    """Models that are asked each question, too, with the weights of their votes:
    `{"openai/gpt-4.1": 1.4}`. The votes of the job's own weigh 1 each, unless it is among them."""

    @model_validator(mode="after")
    def _asks_others_in_one_way(self) -> Self:
        if self.panel and self.second_model is not None:
            raise ValueError("panel asks its models about every question: leave out second_model")
        return self


def refuse_votes(params: VoteParams, plan: EvaluationPlan) -> None:
    """Refuse votes that the evaluators of a plan don't have.

    Raises:
        InvalidParams: with the reason.
    """
    chosen = registry.chosen(plan)
    if params.second_model is not None and not any(kind.votes_in(plan) > 1 for kind in chosen):
        raise InvalidParams.of("second_model", "It is asked where votes differ: set votes")
    voting = [kind for kind in chosen if kind.has_votes]
    names = [kind.name for kind in voting]
    if unknown := sorted(params.votes.keys() - set(names)):
        raise InvalidParams.of(
            "votes", f"No votes are asked by {', '.join(unknown)}, but by: {', '.join(names)}"
        )
    if params.panel and not voting:
        asked = ", ".join(kind.name for kind in chosen)
        raise InvalidParams.of("panel", f"No votes are asked by {asked}")
    if params.panel and not any(registry.panel_of(kind, plan).others for kind in voting):
        raise InvalidParams.of("panel", "It has the job's own model only: name another one")
