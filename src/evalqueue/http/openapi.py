"""The OpenAPI 3.1 document, made from the operations and from the job types' params models."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from evalqueue.client import Client
from evalqueue.http.guards.middleware import is_closed
from evalqueue.http.guards.sessions import COOKIE, SECURE_COOKIE
from evalqueue.http.models.jobs import Error, SubmitJob, ValidationErrors
from evalqueue.http.operations import AnyOperation
from evalqueue.http.uploads import FORM
from evalqueue.jobtypes import JobParams

Schema = dict[str, Any]  # JSON Schema is a format, not a type

_REF = "#/components/schemas/"
_ERRORS: Mapping[int, str] = {
    400: "The job is over already",
    401: "No token or sign-in, or not a right one",
    403: "The Host or the Origin is not known here, or the caller lacks the right",
    404: "There is none with this id",
    408: "The body came too slowly",
    409: "It contradicts what was asked or done before",
    413: "The body is too large",
    415: "The body is not sent as what it has to be",
    422: "Something in the request is wrong; nothing was stored",
    429: "Too many requests, or too many wrong tokens; Retry-After says when to come again",
    503: "The database does not answer, its schema is outdated, or all places are taken. "
    "Try again later",
}


_WAYS_IN: Mapping[str, Schema] = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    "session_by_tls": {"type": "apiKey", "in": "cookie", "name": SECURE_COOKIE},
}


def document(operations: Sequence[AnyOperation], client: Client, version: str) -> Schema:
    """What the API is, for programs."""
    schemas = _Schemas(operations, client.job_types)
    has_token = bool(client.settings.api_tokens)
    has_rate = client.settings.rate is not None
    paths: dict[str, Schema] = {}
    for operation in operations:
        described = _operation(operation, schemas, has_token=has_token, has_rate=has_rate)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    components: Schema = {"schemas": schemas.components}
    if has_token:
        components["securitySchemes"] = _WAYS_IN
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "evalqueue",
            "version": version,
            "summary": "Chatbot conversations, evaluated by LLM judges: jobs and what they found.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }


class _Schemas:
    """The schemas of everything, made in one go so that no two of one name get mixed up."""

    def __init__(
        self, operations: Sequence[AnyOperation], job_types: Mapping[str, type[JobParams]]
    ) -> None:
        inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
            ("error", "serialization", TypeAdapter(Error)),
            ("invalid", "serialization", TypeAdapter(ValidationErrors)),
        ]
        for operation in operations:
            inputs.append((f"asks {operation.name}", "validation", TypeAdapter(operation.asks)))
            if operation.form is not None:
                form = TypeAdapter[Any](operation.form)
                inputs.append((f"form {operation.name}", "validation", form))
            if not operation.events:
                inputs.append((f"tells {operation.name}", "serialization", operation.tells))
            for kind, model in operation.events.items():
                name = f"event {operation.name} {kind}"
                inputs.append((name, "serialization", TypeAdapter(model)))
            for status, model in operation.says_more.items():
                name = f"tells {operation.name} {status}"
                inputs.append((name, "serialization", TypeAdapter(model)))
        for job_type, model in job_types.items():
            inputs.append((f"params {job_type}", "validation", TypeAdapter(model)))
        found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF + "{model}")
        self._found = {key: schema for (key, _), schema in found.items()}
        self.components: dict[str, Schema] = rest.get("$defs", {})
        self._submissions = self._by_job_type(job_types)
        self._asks = {
            operation.name: self._resolved(self._found[f"asks {operation.name}"])
            for operation in operations
        }
        self._in_headers: dict[str, Schema] = {
            # What comes in a header is no part of the rest.
            operation.name: {
                name: self._asks[operation.name]["properties"].pop(name)
                for name in operation.headers
            }
            for operation in operations
        }
        for operation in operations:
            is_used = operation.in_body or operation.form is operation.asks
            if not is_used or self._takes_submissions(operation):
                self._forget(self._found[f"asks {operation.name}"])

    def tells(self, operation: AnyOperation) -> Schema:
        if not operation.events:
            return self._found[f"tells {operation.name}"]
        events = [self._event(operation, kind) for kind in operation.events]
        return {"oneOf": events} if len(events) > 1 else events[0]

    def _event(self, operation: AnyOperation, kind: str) -> Schema:
        """An event as its fields are on the wire. OpenAPI 3.1 does not say what the schema of a
        stream is about; that it is about each event is how programs read it."""
        return {
            "type": "object",
            "properties": {
                "event": {"const": kind, "type": "string"},
                "id": {"type": "string"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": self._found[f"event {operation.name} {kind}"],
                },
            },
            "required": ["event", "id", "data"],
        }

    def error(self, operation: AnyOperation, status: int | None = None) -> Schema:
        if status in operation.says_more:
            return self._found[f"tells {operation.name} {status}"]
        return self._found["invalid" if status == HTTPStatus.UNPROCESSABLE_ENTITY else "error"]

    def parameters(self, operation: AnyOperation) -> Schema:
        """The properties of what is asked in path and query."""
        in_body = operation.in_body or operation.form is operation.asks
        return {} if in_body else self._asks[operation.name].get("properties", {})

    def headers(self, operation: AnyOperation) -> Schema:
        """The properties of what is asked in headers, by the names of these."""
        return {
            header: self._in_headers[operation.name][name]
            for name, header in operation.headers.items()
        }

    def content(self, operation: AnyOperation) -> Schema:
        """What a body may hold, by media type."""
        found = _json(self._body(operation)) if operation.in_body else Schema()
        if operation.form is not None:
            found[FORM] = {"schema": self._found[f"form {operation.name}"]}
        return found

    def _body(self, operation: AnyOperation) -> Schema:
        if self._takes_submissions(operation):
            return self._submissions
        return self._found[f"asks {operation.name}"]

    def _takes_submissions(self, operation: AnyOperation) -> bool:
        return operation.asks is SubmitJob and bool(self._submissions)

    def _resolved(self, schema: Schema) -> Schema:
        return self.components[_component(schema)] if "$ref" in schema else schema

    def _forget(self, schema: Schema) -> None:
        """What is written out where it is used is no component. Several operations may ask it."""
        if "$ref" in schema:
            self.components.pop(_component(schema), None)

    def _by_job_type(self, job_types: Mapping[str, type[JobParams]]) -> Schema:
        if not job_types:
            return {}
        mapping: dict[str, str] = {}
        for job_type, model in job_types.items():
            needs_params = any(field.is_required() for field in model.model_fields.values())
            self.components[f"submit-{job_type}"] = {
                "type": "object",
                "properties": {
                    "job_type": {"const": job_type, "type": "string"},
                    "params": self._found[f"params {job_type}"],
                },
                "required": ["job_type", "params"] if needs_params else ["job_type"],
                "additionalProperties": False,
            }
            mapping[job_type] = f"{_REF}submit-{job_type}"
        return {
            "oneOf": [{"$ref": ref} for ref in mapping.values()],
            "discriminator": {"propertyName": "job_type", "mapping": mapping},
        }


def _component(schema: Schema) -> str:
    return schema["$ref"].removeprefix(_REF)


def _operation(
    operation: AnyOperation, schemas: _Schemas, *, has_token: bool, has_rate: bool
) -> Schema:
    needs_token = has_token and is_closed(operation.method, operation.path)
    described: Schema = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if content := schemas.content(operation):
        described["requestBody"] = {"required": True, "content": content}
    if parameters := _parameters(operation, schemas):
        described["parameters"] = parameters
    described["responses"] = {
        **{
            str(status): {
                "description": operation.summary,
                "content": {operation.media_type: {"schema": schemas.tells(operation)}},
            }
            for status in (operation.status, *operation.also)
        },
        **{
            str(status): {
                "description": _ERRORS[status],
                "content": _json(schemas.error(operation, status)),
            }
            for status in _errors(operation, needs_token=needs_token, has_rate=has_rate)
        },
        "default": {"description": "Any other error", "content": _json(schemas.error(operation))},
    }
    if needs_token:
        # To be allowed what: the right that is needed, as OpenAPI 3.1 has it.
        described["security"] = [{way: [operation.right]} for way in _WAYS_IN]
    return described


def _errors(operation: AnyOperation, *, needs_token: bool, has_rate: bool) -> list[int]:
    found = {403, *operation.errors}
    if operation.asks.model_fields:
        found.add(422)
    if operation.in_body or operation.form is not None:
        found |= {408, 413, 415}
    if needs_token:
        found |= {401, 429}
    if has_rate:
        found.add(429)
    return sorted(found)


def _parameters(operation: AnyOperation, schemas: _Schemas) -> list[Schema]:
    described = [
        _parameter(name, "path" if f"{{{name}}}" in operation.path else "query", schema)
        for name, schema in schemas.parameters(operation).items()
    ]
    headers = schemas.headers(operation)
    return described + [_parameter(name, "header", schema) for name, schema in headers.items()]


def _parameter(name: str, place: str, schema: Schema) -> Schema:
    parameter = {"name": name, "in": place, "required": place == "path", "schema": _given(schema)}
    if place == "query":
        parameter["allowEmptyValue"] = True  # as good as none: that is how forms send it
    if "description" in schema:
        parameter["description"] = schema["description"]
    return parameter


def _given(schema: Schema) -> Schema:
    """A parameter that is there has a value: null is only how its absence looks inside."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    kept = {key: value for key, value in schema.items() if key not in {"anyOf", "description"}}
    if not choices:
        return kept
    (choice,) = choices
    return choice


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
