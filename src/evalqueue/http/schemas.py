"""JSON Schemas of all requests and responses, for the OpenAPI document."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from evalqueue.http.models.errors import Error, ValidationErrors
from evalqueue.http.models.fields import JSON_SUFFIX
from evalqueue.http.models.jobs import SubmitJob
from evalqueue.http.operations import Operation
from evalqueue.http.uploads import FORM
from evalqueue.jobtypes import JobParams

Schema = dict[str, Any]  # JSON Schema is a format, not a type

_REF = "#/components/schemas/"
_Input = tuple[str, JsonSchemaMode, TypeAdapter[Any]]


class _Generator(GenerateJsonSchema):
    """Names components as `models.fields.schema_name` does their titles."""

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name.removesuffix(JSON_SUFFIX))


class Schemas:
    """The schemas of all operations, generated in one call so that component names are unique."""

    def __init__(
        self, operations: Sequence[Operation], job_types: Mapping[str, type[JobParams]]
    ) -> None:
        inputs = [*_inputs(operations, job_types)]
        generated, definitions = TypeAdapter.json_schemas(
            inputs, ref_template=_REF + "{model}", schema_generator=_Generator
        )
        self._generated = {key: schema for (key, _), schema in generated.items()}
        self.components: dict[str, Schema] = definitions.get("$defs", {})
        self._submissions = self._by_job_type(job_types)
        self._requests = {
            operation.name: self._resolved(self._generated[f"request {operation.name}"])
            for operation in operations
        }
        self._headers: dict[str, Schema] = {
            # Fields that come in headers are removed from the rest of the request.
            operation.name: {
                header: self._requests[operation.name]["properties"].pop(name)
                for name, header in operation.headers.items()
            }
            for operation in operations
        }
        self._paths = {
            operation.name: _without_paths(operation, self._requests[operation.name])
            for operation in operations
            if operation.in_body
        }
        for operation in operations:
            is_body = operation.in_body or operation.form is operation.request
            if not is_body or self._takes_submissions(operation):
                self._drop_component(self._generated[f"request {operation.name}"])

    def response(self, operation: Operation) -> Schema:
        if not operation.events:
            return self._generated[f"response {operation.name}"]
        events = [self._event(operation, kind) for kind in operation.events]
        return {"oneOf": events} if len(events) > 1 else events[0]

    def error(self, operation: Operation, status: int | None = None) -> Schema:
        if status in operation.error_models:
            return self._generated[f"response {operation.name} {status}"]
        return self._generated["invalid" if status == HTTPStatus.UNPROCESSABLE_ENTITY else "error"]

    def parameters(self, operation: Operation) -> Mapping[str, Schema]:
        """The parameters in path and query, by name."""
        if operation.in_body or operation.form is operation.request:
            return self._paths.get(operation.name, {})
        return self._requests[operation.name].get("properties", {})

    def headers(self, operation: Operation) -> Mapping[str, Schema]:
        """The parameters in headers, by the header's name."""
        return self._headers[operation.name]

    def body(self, operation: Operation) -> Schema:
        """The content of the body, by media type."""
        content = Schema()
        if operation.in_body:
            is_submission = self._takes_submissions(operation)
            request = self._generated[f"request {operation.name}"]
            content["application/json"] = {
                "schema": self._submissions if is_submission else request
            }
        if operation.form is not None:
            content[FORM] = {"schema": self._generated[f"form {operation.name}"]}
        return content

    def _event(self, operation: Operation, kind: str) -> Schema:
        """An event with its fields as they are sent. OpenAPI 3.1 does not define what the schema of
        a stream describes; programs take it as the schema of each event."""
        return {
            "type": "object",
            "properties": {
                "event": {"const": kind, "type": "string"},
                "id": {"type": "string"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": self._generated[f"event {operation.name} {kind}"],
                },
            },
            "required": ["event", "id", "data"],
        }

    def _takes_submissions(self, operation: Operation) -> bool:
        return operation.request is SubmitJob and bool(self._submissions)

    def _resolved(self, schema: Schema) -> Schema:
        return self.components[_component(schema)] if "$ref" in schema else schema

    def _drop_component(self, schema: Schema) -> None:
        """Remove a model whose fields are written out as parameters. Operations may share it."""
        if "$ref" in schema:
            self.components.pop(_component(schema), None)

    def _by_job_type(self, job_types: Mapping[str, type[JobParams]]) -> Schema:
        """The body of a submission: one alternative for each job type."""
        if not job_types:
            return {}
        mapping: dict[str, str] = {}
        for job_type, model in job_types.items():
            needs_params = any(field.is_required() for field in model.model_fields.values())
            self.components[f"submit-{job_type}"] = {
                "type": "object",
                "properties": {
                    "job_type": {"const": job_type, "type": "string"},
                    "params": self._generated[f"params {job_type}"],
                },
                "required": ["job_type", "params"] if needs_params else ["job_type"],
                "additionalProperties": False,
            }
            mapping[job_type] = f"{_REF}submit-{job_type}"
        return {
            "oneOf": [{"$ref": ref} for ref in mapping.values()],
            "discriminator": {"propertyName": "job_type", "mapping": mapping},
        }


def _inputs(
    operations: Sequence[Operation], job_types: Mapping[str, type[JobParams]]
) -> Iterator[_Input]:
    """All types that need a schema, each with a key."""
    yield "error", "serialization", TypeAdapter(Error)
    yield "invalid", "serialization", TypeAdapter(ValidationErrors)
    for operation in operations:
        yield f"request {operation.name}", "validation", TypeAdapter(operation.request)
        if operation.form is not None:
            yield f"form {operation.name}", "validation", TypeAdapter(operation.form)
        if not operation.events:
            yield f"response {operation.name}", "serialization", operation.response
        for kind, model in operation.events.items():
            yield f"event {operation.name} {kind}", "serialization", TypeAdapter(model)
        for status, model in operation.error_models.items():
            yield f"response {operation.name} {status}", "serialization", TypeAdapter(model)
    for job_type, model in job_types.items():
        yield f"params {job_type}", "validation", TypeAdapter(model)


def _without_paths(operation: Operation, request: Schema) -> Mapping[str, Schema]:
    """Remove fields that come in the path from the schema of a body. Returns them, by name."""
    properties: Schema = request.get("properties", {})
    names = [name for name in properties if f"{{{name}}}" in operation.path]
    if names:
        request["required"] = [each for each in request.get("required", ()) if each not in names]
    return {name: properties.pop(name) for name in names}


def _component(schema: Schema) -> str:
    return schema["$ref"].removeprefix(_REF)
