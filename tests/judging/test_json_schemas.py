"""JSON Schemas of strangers: nothing is fetched, and no schema keeps the process busy for long."""

import asyncio
import time
from typing import Any

import pytest

from evalqueue.evaluators.json_schemas import WORK_MAX, InvalidSchema, JsonSchema

SELF = {"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}}
CHARACTERS = {"properties": {"word": {"pattern": r"^[\u4e00-\u9fa5]+\/\d$"}}}


def schema_of(schema: Any) -> JsonSchema:
    return JsonSchema(schema, size=len(str(schema)))


def chain(length: int) -> dict[str, Any]:
    """Each definition refers twice to the next one."""
    definitions: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(length)
    }
    return {"$defs": definitions | {f"d{length}": {"type": "object"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("schema", "value", "violation"),
    [
        ({"required": ["id"]}, {}, '"id" is a required property'),
        (SELF, {"next": {"next": {"n": 1}}}, None),
        (SELF, {"next": {"next": {"n": "x"}}}, 'next.next.n: "x" is not of type "integer"'),
        (SELF, {"n": "x", "next": {"n": "y"}}, 'n: "x" is not of type "integer"'),
        ({"$defs": {"a/b": {"type": "null"}}, "$ref": "#/$defs/a~1b"}, None, None),
        (CHARACTERS, {"word": "王/7"}, None),
        (CHARACTERS, {"word": "x/7"}, "does not match"),
        ({"items": {"uniqueItems": True}}, [[1, 1]], "0: [1,1] has non-unique elements"),
        ({"type": "string"}, "\ud800", "can't be looked at"),
        (True, 1, None),
        (chain(10), {}, None),
    ],
)
def test_a_violation_names_its_place(schema: Any, value: Any, violation: str | None) -> None:
    checked = schema_of(schema)
    found = checked.violation(value)

    assert checked.is_valid(value) is (violation is None)
    assert found is None if violation is None else violation in (found or "")


@pytest.mark.parametrize(
    ("schema", "why", "path"),
    [
        ([], "it is no object", ()),
        ({"properties": {"a": {"type": "strong"}}}, "strong", ("properties", "a", "type")),
        ({"$ref": "other.json"}, "other.json", ()),
        ({"$defs": {"a": {"$anchor": "b"}}, "$ref": "#b"}, "write #b as a place", ()),
        ({"$defs": {"a": {"$dynamicAnchor": "b"}}, "$dynamicRef": "#b"}, "write #b as", ()),
        ({"$id": "http://127.0.0.1:1/a", "$ref": "a#/$defs/b"}, "write a#/", ()),
        ({"items": {"pattern": "(?=a)"}}, "look-around", ("items", "pattern")),
        ({"$schema": "http://127.0.0.1:1/"}, "meta-schema", ()),
        (chain(40), "too large", ()),
        ({"allOf": [{}] * 100_001}, "too large", ()),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, why: str, path: tuple[str, ...]) -> None:
    with pytest.raises(InvalidSchema, match=why) as error:
        schema_of(schema)

    assert error.value.path == path


async def test_nothing_is_fetched() -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/s.json"
        for schema in (
            {"$ref": address},
            {"$schema": address},
            {"$dynamicRef": address},
            {"$id": address, "$ref": "#"},
            {"$vocabulary": {address: True}},
        ):
            try:
                checked = await asyncio.to_thread(schema_of, schema)
            except InvalidSchema:
                continue
            await asyncio.to_thread(checked.is_valid, {})

    assert asked == []


def test_a_schema_and_a_value_are_bounded_together() -> None:
    long = JsonSchema({"allOf": [{"minimum": 0}] * 1_000}, size=20_000)

    assert long.fits(WORK_MAX // 20_000 - 1_100)
    assert not long.fits(WORK_MAX // 20_000 + 1)
    assert not schema_of(chain(12)).fits(WORK_MAX // 100_000)


def test_the_largest_that_is_looked_at_takes_seconds() -> None:
    worst = schema_of({"items": {"allOf": [{"minimum": -5, "maximum": 9}] * 600}})
    value = [1] * 50_000
    assert worst.fits(len(str(value)) // 3)
    began = time.process_time()

    assert worst.is_valid(value)

    assert time.process_time() - began < 10
