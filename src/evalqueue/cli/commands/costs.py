"""The command about costs."""

from collections.abc import Sequence
from datetime import UTC, datetime

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.evaluators.prices import costs
from evalqueue.evaluators.prices.costs import Cost, CostGroup, shown


async def list_costs(by: CostGroup, since: datetime | None, *, as_json: bool) -> ExitCode:
    """Print what LLM calls have cost."""
    now = datetime.now(UTC)
    start = datetime(now.year, now.month, 1, tzinfo=UTC)
    moment = start if since is None else since.replace(tzinfo=UTC)
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await costs.costs(connection, by, since=moment)
    document = {
        "by": by.value,
        "since": moment.isoformat(),
        "costs": [_as_json(each) for each in found],
    }
    console.print_result(document, _table(by, found, moment), as_json=as_json)
    return ExitCode.DONE


def _as_json(cost: Cost) -> dict[str, object]:
    return {
        "name": cost.name,
        "calls": cost.calls,
        "batched_calls": cost.batched_calls,
        "tokens_in": cost.tokens_in,
        "tokens_out": cost.tokens_out,
        "cost_usd": shown(cost.cost_usd),
        "unpriced_calls": cost.unpriced_calls,
    }


def _table(by: CostGroup, found: Sequence[Cost], since: datetime) -> str:
    if not found:
        return f"No LLM call since {since:%Y-%m-%d %H:%M} UTC."
    width = max(len(by.value), *(len(each.name) for each in found))
    lines = [f"{by.value:<{width}}  {'calls':>9}  {'tokens in':>12}  {'tokens out':>12}  USD"]
    for each in found:
        cost = shown(each.cost_usd) or "unknown"
        if each.unpriced_calls and each.cost_usd is not None:
            cost += f", without {each.unpriced_calls:,} calls of unknown price"
        if each.batched_calls:
            cost += f", {each.batched_calls:,} calls in batches at half price"
        lines.append(
            f"{each.name:<{width}}  {each.calls:>9,}  {each.tokens_in or 0:>12,}  "
            f"{each.tokens_out or 0:>12,}  {cost}"
        )
    return "\n".join(lines)
