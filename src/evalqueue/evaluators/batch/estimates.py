"""What a batch may use, in tokens and dollars, with an interval, before a call is made.

The prompts of some conversations are made as the evaluators make them, and their lengths counted.
How many characters a token has, and how long answers are, comes from recorded calls of the same
version of an evaluator with the same model. Where there are too few, documented constants stand in
for them, and the interval is wide.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal

from evalqueue.evaluators.batch.earlier_runs import RecentCall, recent_calls
from evalqueue.evaluators.batch.samples import PromptLengths, prompt_lengths
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.evaluators.prices.costs import shown
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.provider import Usage
from evalqueue.evaluators.providers.registry import ModelChoice
from evalqueue.evaluators.runs.other_models import PricedModel
from evalqueue.postgres.database import Connection

CHARACTERS_PER_TOKEN = 4.0
"""Of English prose, by OpenAI's rule of thumb."""
MIN_CHARACTERS_PER_TOKEN = 2.0  # dense JSON, or languages with many characters
MAX_CHARACTERS_PER_TOKEN = 6.0
ANSWER_TOKENS = 150
"""Of one answer without reasoning: a label with its evidence and reason."""
MIN_ANSWER_TOKENS = 20
MAX_ANSWER_TOKENS = 1_000
MIN_RECORDED_CALLS = 5
"""With fewer recorded calls, the constants stand in for them."""
SPLIT_QUESTIONS = 0.2
"""The share of questions on which votes are expected to differ; it may be none or all of them."""
_REPEATED = 0.15
"""Up to so much more for repairs and repetitions."""
_MIN_RELATIVE_ERROR = 0.05
_SPREAD = 2.0  # standard errors on each side: about 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRange:
    """An expected number of tokens, and an interval that it should fall into."""

    expected: int
    low: int
    high: int

    def __add__(self, other: "TokenRange") -> "TokenRange":
        return TokenRange(
            expected=self.expected + other.expected,
            low=self.low + other.low,
            high=self.high + other.high,
        )

    def as_json(self) -> Mapping[str, int]:
        return {"expected": self.expected, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class DollarRange:
    """US dollars, likewise."""

    expected: Decimal
    low: Decimal
    high: Decimal

    def __add__(self, other: "DollarRange") -> "DollarRange":
        return DollarRange(
            expected=self.expected + other.expected,
            low=self.low + other.low,
            high=self.high + other.high,
        )

    def as_json(self) -> Mapping[str, str | None]:
        return {
            "expected": shown(self.expected),
            "low": shown(self.low),
            "high": shown(self.high),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What some calls may use, if none is answered from earlier runs."""

    calls: int
    tokens_in: TokenRange
    tokens_out: TokenRange
    cost_usd: DollarRange | None
    """None: the price is not known."""
    recorded_calls: int
    """How many recorded calls it is learned from; 0: from none."""
    errors: tuple[str, ...] = ()
    """What evaluators raised for the sample, in words: the figures lack those prompts."""

    def __add__(self, other: "Estimate") -> "Estimate":
        costs = None
        if self.cost_usd is not None and other.cost_usd is not None:
            costs = self.cost_usd + other.cost_usd
        return Estimate(
            calls=self.calls + other.calls,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            cost_usd=costs,
            recorded_calls=self.recorded_calls + other.recorded_calls,
            errors=(*self.errors, *other.errors),
        )

    def as_json(self) -> Mapping[str, object]:
        return {
            "calls": self.calls,
            "tokens_in": self.tokens_in.as_json(),
            "tokens_out": self.tokens_out.as_json(),
            "cost_usd": None if self.cost_usd is None else self.cost_usd.as_json(),
            "recorded_calls": self.recorded_calls,
            "errors": list(self.errors),
        }


_NO_TOKENS = TokenRange(expected=0, low=0, high=0)
_FREE = DollarRange(expected=Decimal(0), low=Decimal(0), high=Decimal(0))
_NO_CALLS = Estimate(
    calls=0, tokens_in=_NO_TOKENS, tokens_out=_NO_TOKENS, cost_usd=_FREE, recorded_calls=0
)


async def estimate_batch(
    connection: Connection,
    *,
    threads: Sequence[Thread],
    total_threads: int,
    calls: Mapping[str, int] | None,
    evaluators: Sequence[Evaluator],
    owner: str,
    choice: ModelChoice | None,
    prices: PriceList | None,
    plan: EvaluationPlan,
    others: Mapping[str, PricedModel],
) -> Estimate | None:
    """What a batch may use. None: there is nothing to evaluate.

    Args:
        connection: for recorded calls.
        threads: a sample of its conversations.
        total_threads: how many there are.
        calls: how many calls each evaluator makes. None: as many as the sample says.
        evaluators: the evaluators.
        owner: whose recorded calls are learned from.
        choice: the model. None: it is not known.
        prices: of the model. None: they are not known.
        plan: says which evaluators ask another model, how often, and for how much.
        others: those models that are available, by name.
    """
    max_output_tokens = plan.parameters.max_output_tokens
    kinds = {kind.name: kind for kind in registry.chosen(plan)}
    total: Estimate | None = None
    lengths = await prompt_lengths(threads, evaluators)
    for evaluator in evaluators:
        name = evaluator.declaration.name
        kind = kinds[name]
        if not kind.calls_llm:
            found = replace(_NO_CALLS, errors=_errors(name, lengths[name]))
            total = found if total is None else total + found
            continue
        recorded: Sequence[RecentCall] = ()
        if choice is not None:
            recorded = await recent_calls(
                connection, owner=owner, evaluator=name, version=evaluator.version, choice=choice
            )
        own = (
            None if choice is None or prices is None else PricedModel(choice=choice, prices=prices)
        )
        asked = own if kind.model is None else others.get(kind.model)
        found = estimate_evaluator(
            lengths[name],
            threads=total_threads,
            calls=_calls(lengths[name], total_threads) if calls is None else calls.get(name, 0),
            recorded=recorded,
            model=None if asked is None else asked.choice.model,
            prices=None if asked is None else asked.prices,
            max_output_tokens=max_output_tokens,
        )
        found = replace(found, errors=_errors(name, lengths[name]))
        if panel := registry.panel_of(kind, plan).others:
            found = _of_panel(found, kind.votes_in(plan), asked, [others.get(e) for e in panel])
        total = found if total is None else total + found
        if plan.second_model is not None and (votes := kind.votes_in(plan)) > 1:
            total += _second(found, votes, others.get(plan.second_model))
    return total


def _errors(evaluator: str, lengths: PromptLengths) -> tuple[str, ...]:
    if not lengths.errors:
        return ()
    sample = len(lengths.texts) + len(lengths.errors)
    kinds = ", ".join(sorted(set(lengths.errors)))
    return (f"{evaluator} raised {kinds} for {len(lengths.errors)} of {sample} conversations",)


def _of_panel(
    found: Estimate, votes: int, own: PricedModel | None, others: Sequence[PricedModel | None]
) -> Estimate:
    """The same calls at the prices of the models that make them: so many votes are of the
    evaluator's own model, one is of each other model."""
    total = votes + len(others)
    own_calls = found.calls - len(others) * (found.calls // total)
    whole = _part(found, votes / total, own_calls, own)
    for each in others:
        whole += _part(found, 1 / total, found.calls // total, each)
    return replace(whole, recorded_calls=found.recorded_calls, errors=found.errors)


def _part(found: Estimate, share: float, calls: int, model: PricedModel | None) -> Estimate:
    tokens_in, tokens_out = (
        _range(each.expected * share, each.low * share, each.high * share)
        for each in (found.tokens_in, found.tokens_out)
    )
    cost = None
    if model is not None and model.prices.knows(model.choice.model):
        cost = _cost(model.prices, model.choice.model, calls, tokens_in, tokens_out)
    return Estimate(
        calls=calls, tokens_in=tokens_in, tokens_out=tokens_out, cost_usd=cost, recorded_calls=0
    )


def _second(found: Estimate, votes: int, model: PricedModel | None) -> Estimate:
    """What the second model may use: it is asked about none of the questions, or about all."""
    calls = round(found.calls / votes * SPLIT_QUESTIONS)
    tokens_in, tokens_out = (
        TokenRange(
            expected=round(each.expected / votes * SPLIT_QUESTIONS),
            low=0,
            high=math.ceil(each.high / votes),
        )
        for each in (found.tokens_in, found.tokens_out)
    )
    cost = None
    if model is not None and model.prices.knows(model.choice.model):
        most = max(1, math.ceil(found.calls / votes))
        cost = _cost(model.prices, model.choice.model, most, tokens_in, tokens_out)
    return Estimate(
        calls=calls, tokens_in=tokens_in, tokens_out=tokens_out, cost_usd=cost, recorded_calls=0
    )


def estimate_evaluator(
    lengths: PromptLengths,
    *,
    threads: int,
    calls: int,
    recorded: Sequence[RecentCall],
    model: str | None,
    prices: PriceList | None,
    max_output_tokens: int,
) -> Estimate:
    """What an evaluator's calls for so many conversations may use.

    Args:
        lengths: of the prompts for a sample of them.
        threads: conversations in all.
        calls: calls for all of them, without repetitions.
        recorded: earlier calls of the same version with the same model.
        model: the model. None: it is not known.
        prices: today's. None: they are not known.
        max_output_tokens: of one call.
    """
    learned = recorded if len(recorded) >= MIN_RECORDED_CALLS else ()
    tokens_in = _input(lengths, threads, learned)
    tokens_out = _output(calls, learned, max_output_tokens)
    cost = None
    if model is not None and prices is not None and prices.knows(model):
        cost = _cost(prices, model, calls, tokens_in, tokens_out)
    return Estimate(
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_usd=cost,
        recorded_calls=len(learned),
    )


def relative_error(expected: Decimal, found: Decimal) -> float | None:
    """By how much an expected amount was too high (above 0) or too low, as a part of the one that
    was found. None: none was found."""
    return round(float((expected - found) / found), 4) if found else None


def _input(lengths: PromptLengths, threads: int, recorded: Sequence[RecentCall]) -> TokenRange:
    text, text_error = _extrapolated(lengths.texts, threads)
    schema, _ = _extrapolated(lengths.schemas, threads)
    if recorded:
        per_token = sum(call.characters for call in recorded) / sum(
            max(call.tokens_in, 1) for call in recorded
        )
        error = max(_ratio_error(recorded, per_token), _MIN_RELATIVE_ERROR)
        expected = text / per_token
        low = (text - text_error) / per_token * (1 - error)
        high = (text + text_error) / per_token * (1 + error)
    else:
        expected = text / CHARACTERS_PER_TOKEN
        low = (text - text_error) / MAX_CHARACTERS_PER_TOKEN
        high = (text + text_error + schema) / MIN_CHARACTERS_PER_TOKEN
    return _range(expected, low, high * (1 + _REPEATED))


def _output(calls: int, recorded: Sequence[RecentCall], most: int) -> TokenRange:
    if not recorded:
        return _range(
            calls * min(ANSWER_TOKENS, most),
            calls * min(MIN_ANSWER_TOKENS, most),
            calls * min(MAX_ANSWER_TOKENS, most) * (1 + _REPEATED),
        )
    tokens = [call.tokens_out for call in recorded]
    mean = statistics.fmean(tokens)
    # The mean of `calls` new answers differs from that of the recorded ones by this much.
    error = _SPREAD * statistics.stdev(tokens) * math.sqrt(1 / len(tokens) + 1 / max(calls, 1))
    error += _MIN_RELATIVE_ERROR * mean
    return _range(
        calls * mean, calls * max(mean - error, 0), calls * (mean + error) * (1 + _REPEATED)
    )


def _cost(
    prices: PriceList, model: str, calls: int, tokens_in: TokenRange, tokens_out: TokenRange
) -> DollarRange:
    now = datetime.now(UTC)

    def amount(all_in: int, all_out: int, *, is_cached: bool = False) -> Decimal:
        if not calls:
            return Decimal(0)
        # A price may depend on the length of one prompt.
        in_each, out_each = math.ceil(all_in / calls), math.ceil(all_out / calls)
        usage = Usage(
            input_tokens=in_each,
            output_tokens=out_each,
            cached_tokens=in_each if is_cached else 0,
        )
        each = prices.cost(model, usage, at=now) or Decimal(0)
        return (each * calls).quantize(Decimal("0.000001"), rounding=ROUND_UP)

    return DollarRange(
        expected=amount(tokens_in.expected, tokens_out.expected),
        low=min(
            amount(tokens_in.low, tokens_out.low),
            amount(tokens_in.low, tokens_out.low, is_cached=True),
        ),
        high=amount(tokens_in.high, tokens_out.high),
    )


def _extrapolated(sample: Sequence[int], threads: int) -> tuple[float, float]:
    """A sum over all conversations by those of a sample, and its error."""
    if not sample:
        return 0.0, 0.0
    total = statistics.fmean(sample) * threads
    if len(sample) >= threads:
        return total, 0.0
    spread = statistics.stdev(sample) if len(sample) > 1 else sample[0]
    unseen = math.sqrt(1 - len(sample) / threads)  # finite population correction
    return total, min(total, _SPREAD * spread / math.sqrt(len(sample)) * threads * unseen)


def _ratio_error(recorded: Sequence[RecentCall], ratio: float) -> float:
    """The relative error of characters per token: two standard errors of a ratio of sums.

    Cochran, Sampling Techniques, 3rd edition, section 2.11.
    """
    rests = [call.characters - ratio * call.tokens_in for call in recorded]
    mean = statistics.fmean(call.characters for call in recorded)
    if not mean:
        return 1.0
    squares = sum(rest * rest for rest in rests) / (len(rests) - 1)
    return _SPREAD * math.sqrt(squares / len(rests)) / mean


def _range(expected: float, low: float, high: float) -> TokenRange:
    return TokenRange(
        expected=round(expected), low=max(0, math.floor(low)), high=max(0, math.ceil(high))
    )


def _calls(lengths: PromptLengths, threads: int) -> int:
    seen = len(lengths.texts)
    return round(lengths.calls / seen * threads) if seen else 0
