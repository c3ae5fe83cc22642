"""The models that a job asks besides its own: an evaluator's, and those that vote."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.registry import (
    ModelChoice,
    ProviderSettings,
    ProviderUnavailable,
    resolve_named,
)
from evalqueue.evaluators.runs.cap_params import CapParams, price_list, refuse_unpriced
from evalqueue.evaluators.runs.vote_params import VoteParams


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedModel:
    """A model with its prices."""

    choice: ModelChoice
    prices: PriceList


async def priced(settings: ProviderSettings, names: Iterable[str]) -> dict[str, PricedModel]:
    """The models of some names, `provider/model`.

    Raises:
        ProviderUnavailable: one of them is not available in this process.
    """
    found: dict[str, PricedModel] = {}
    for name in names:
        choice = resolve_named(settings, name)
        found[name] = PricedModel(choice=choice, prices=await price_list(settings, choice))
    return found


async def refuse_other_models(
    params: CapParams,
    settings: ProviderSettings,
    models: Mapping[str, str],
    *,
    owner: str,
    is_batched: bool,
) -> None:
    """Refuse models that a job can't ask.

    Args:
        params: those of the job.
        settings: of the providers.
        models: who asks each of them, by its name.
        owner: of the job.
        is_batched: whether the job asks by batches.

    Raises:
        InvalidParams: a model is not available, has no price though there is a cap, or would be
            asked by batches.
    """
    for name, asked_by in models.items():
        field = asked_by if asked_by in VoteParams.model_fields else "evaluators"
        if is_batched:
            raise InvalidParams.of(
                "mode", f"Batches are of one model: {asked_by} asks {name}. Use mode: live"
            )
        try:
            choice = resolve_named(settings, name)
        except ProviderUnavailable as error:
            raise InvalidParams.of(field, f"{asked_by} asks {name}: {error.message}") from error
        await refuse_unpriced(params, settings, choice, owner)
