"""What every job type of the daemon keeps to, whichever it is."""

import re
from typing import Any

import pytest

from evalqueue import InvalidParams, JobParams, Settings
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.jobtypes import JobTypes

HANDLERS = evaluation_handlers(Settings(), ProviderSettings())
SMALLEST: dict[str, dict[str, Any]] = {
    "check-alerts": {"job_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"},
    "check-drift": {"anchor": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"},
    "deliver-alert": {"event_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"},
    "evaluate-batch": {"total_items": 1},
    "evaluate-adversarial": {"test_count": 1},
    "evaluate-source": {"source": "support"},
    "propose-app": {"dataset_id": f"sha256:{'0' * 64}"},
    "reach-chatbot": {},
    "settle-batches": {"job_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"},
    "try-evaluators": {"dataset_id": f"sha256:{'0' * 64}"},
}
"""The least that each job type takes. A new one is one more line here."""


@pytest.fixture(params=sorted(HANDLERS.job_types))
def model(request: pytest.FixtureRequest) -> type[JobParams]:
    return HANDLERS.job_types[request.param]


def test_its_name_is_one_that_the_table_takes(model: type[JobParams]):
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,49}", model.job_type)


def test_it_has_a_handler_and_an_explanation(model: type[JobParams]):
    assert HANDLERS[model.job_type].params is model
    assert model.__doc__


def test_a_misspelt_param_is_refused_by_name(model: type[JobParams]):
    params = SMALLEST[model.job_type] | {"no_such_param": 1}
    with pytest.raises(InvalidParams) as refused:
        JobTypes([model]).decode(model.job_type, params)

    assert [problem.loc for problem in refused.value.problems] == [("params", "no_such_param")]


def test_what_is_stored_can_be_submitted_again_as_it_is(model: type[JobParams]):
    job_types = JobTypes([model])
    stored = job_types.decode(model.job_type, SMALLEST[model.job_type]).stored()

    assert stored == SMALLEST[model.job_type]
    assert job_types.decode(model.job_type, stored).stored() == stored
