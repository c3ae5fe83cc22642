"""What is refused before a job is stored, and settings that can't be read."""

from typing import Any

import pytest
from pydantic import ValidationError
from tests.sources.conftest import Chat

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.sources.settings import SourceSettings


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"source": "billing"}, "source: There is no source 'billing'"),
        ({"evaluation": {"dataset_id": "x"}}, "evaluation: dataset_id: the source says"),
        ({"evaluation": {"temprature": 1}}, "evaluation.temprature: There is no such key"),
        ({"evaluation": {"temperature": 9}}, "evaluation.temperature: "),
        ({"sample_rate": 0}, "sample_rate: "),
        ({"since": "2026-01-01T00:00:00"}, "since: "),
        ({"sql": "SELECT 1"}, "sql: There is no such key"),
        ({"settle_minutes": -1}, "settle_minutes: "),
    ],
)
async def test_params_that_can_not_work_are_refused(
    chat: Chat, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidParams) as error:
        await chat.submit(**params)

    assert f"params.{field}" in str(error.value)
    assert await chat.run("SELECT 1 FROM jobs") == []


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"until": "2026-01-01T00:00:00Z"}, "name a position of its own"),
        (
            {"until": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z", "position": "x"},
            "it is not after since",
        ),
    ],
)
async def test_a_range_that_can_not_be_meant_is_refused(
    chat: Chat, params: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidParams, match=reason):
        await chat.submit(**params)


async def test_a_source_is_only_for_its_owners(chat: Chat) -> None:
    chat.name_source(owners=["ann"])
    with pytest.raises(InvalidParams, match="There is no source 'support' for 'default'"):
        await chat.submit()
    async with chat.client() as client:
        job = await client.submit_params("evaluate-source", {"source": "support"}, owner="ann")
    assert job.owner == "ann"


@pytest.mark.parametrize(
    "value",
    [
        '{"a": {"address": "postgresql://u:s3cret@h/d", "relation": "x"',
        '{"a": {"address": "mysql://u:s3cret@h/d", "relation": "x"}}',
        '{"a": {"address": "postgresql://u:s3cret@h/d"}}',
        '{"a": {"address": "postgresql://u:s3cret@h/d", "relation": "a.b.c"}}',
        '{"a": {"address": "postgresql://u:s3cret@h/d", "relation": "x", "query": "SELECT 1"}}',
        '{"a": {"address": "postgresql://u:s3cret@h/d", "relation": "x", "mapping": {"y": "z"}}}',
    ],
)
def test_settings_that_can_not_be_read_are_refused_without_their_secrets(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALQUEUE_SOURCES", value)
    with pytest.raises(ValidationError) as error:
        SourceSettings.read()

    assert "s3cret" not in str(error.value)
    assert "sources" in str(error.value)
