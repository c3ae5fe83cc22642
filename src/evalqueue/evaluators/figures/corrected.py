"""The rates of a run as people would have found them, for gates and alerts."""

from collections.abc import Mapping
from uuid import UUID

from evalqueue.evaluators.batch.distributions import Key
from evalqueue.evaluators.comparison.rates import CorrectedRate
from evalqueue.evaluators.labels import store
from evalqueue.evaluators.labels.calibrate import calibration
from evalqueue.postgres.database import Connection


async def corrected_rates(
    connection: Connection, run_id: UUID, *, owner: str | None
) -> Mapping[Key, CorrectedRate]:
    """The corrected rates of a run: those of scores with enough random labels.

    Args:
        owner: of the run; None: any.
    """
    run = await store.labelled_run(connection, run_id, owner=owner)
    if run is None:
        return {}
    return {
        (each.evaluator, each.version, each.name): CorrectedRate(
            good=each.good, share=each.corrected, labels=each.random
        )
        for each in (await calibration(connection, run)).scores
        if each.corrected is not None
    }
