"""The OpenAPI 3.1 document, made from the operations and the job types' params models."""

from collections.abc import Mapping, Sequence

from evalqueue.client import Client
from evalqueue.http.guards.authentication import requires_token
from evalqueue.http.guards.sessions import COOKIE, secure_cookie
from evalqueue.http.operations import Operation
from evalqueue.http.schemas import Schema, Schemas

_ERRORS: Mapping[int, str] = {
    400: "The job is over already",
    401: "No token or sign-in, or not a valid one",
    403: "The Host or the Origin is not allowed, or the caller lacks the right",
    404: "There is none with this id",
    408: "The body came too slowly",
    409: "The request contradicts an earlier one or the state of the job",
    413: "The body is too large",
    415: "The body has the wrong media type",
    422: "The request is invalid; nothing was stored",
    429: "Too many requests, or too many wrong tokens; Retry-After says when to try again",
    503: "The database does not answer, its schema is outdated, or the server is at its limit. "
    "Try again later",
}

_SECURITY_SCHEMES = ("token", "session", "session_by_tls")


def document(
    operations: Sequence[Operation], client: Client, version: str, root_path: str
) -> Schema:
    """The OpenAPI document of this server.

    Args:
        root_path: what its paths are served under.
    """
    schemas = Schemas(operations, client.job_types)
    has_tokens = client.settings.needs_sign_in
    has_rate_limit = client.settings.rate is not None
    paths: dict[str, Schema] = {}
    for operation in operations:
        needs_token = has_tokens and requires_token(operation.method, operation.path)
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, schemas, needs_token=needs_token, has_rate_limit=has_rate_limit
        )
    components: Schema = {"schemas": schemas.components}
    if has_tokens:
        components["securitySchemes"] = _security_schemes(root_path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "evalqueue",
            "version": version,
            "summary": "Chatbot conversations, evaluated by LLM judges: jobs and their results.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        **({"servers": [{"url": root_path}]} if root_path else {}),
        "paths": paths,
        "components": components,
    }


def _security_schemes(root_path: str) -> Schema:
    token, session, session_by_tls = _SECURITY_SCHEMES
    return {
        token: {"type": "http", "scheme": "bearer"},
        session: {"type": "apiKey", "in": "cookie", "name": COOKIE},
        session_by_tls: {"type": "apiKey", "in": "cookie", "name": secure_cookie(root_path)},
    }


def _operation(
    operation: Operation, schemas: Schemas, *, needs_token: bool, has_rate_limit: bool
) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if body := schemas.body(operation):
        described["requestBody"] = {"required": True, "content": body}
    if parameters := _parameters(operation, schemas):
        described["parameters"] = parameters
    statuses = _error_statuses(operation, needs_token=needs_token, has_rate_limit=has_rate_limit)
    described["responses"] = {
        **{
            str(status): {
                "description": operation.summary,
                "content": {operation.media_type: {"schema": schemas.response(operation)}},
            }
            for status in (operation.status, *operation.other_statuses)
        },
        **{
            str(status): _error(_ERRORS[status], schemas.error(operation, status))
            for status in statuses
        },
        "default": _error("Any other error", schemas.error(operation)),
    }
    if needs_token:
        # For http and apiKey schemes, OpenAPI 3.1 takes these as the roles that are needed.
        described["security"] = [{scheme: [operation.right]} for scheme in _SECURITY_SCHEMES]
    return described


def _error_statuses(operation: Operation, *, needs_token: bool, has_rate_limit: bool) -> list[int]:
    statuses = {403, *operation.errors}
    if operation.request.model_fields or not operation.ignores_query:
        statuses.add(422)
    if operation.in_body or operation.form is not None:
        statuses |= {408, 413, 415}
    if needs_token:
        statuses |= {401, 429}
    if has_rate_limit:
        statuses.add(429)
    return sorted(statuses)


def _error(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _parameters(operation: Operation, schemas: Schemas) -> list[Schema]:
    parameters = [
        _parameter(name, "path" if f"{{{name}}}" in operation.path else "query", schema)
        for name, schema in schemas.parameters(operation).items()
    ]
    headers = schemas.headers(operation)
    return parameters + [_parameter(name, "header", schema) for name, schema in headers.items()]


def _parameter(name: str, place: str, schema: Schema) -> Schema:
    parameter: Schema = {"name": name, "in": place, "required": place == "path"}
    parameter["schema"] = _without_null(schema)
    if place == "query":
        parameter["allowEmptyValue"] = True  # counts as absent, because that is how forms send it
    if "description" in schema:
        parameter["description"] = schema["description"]
    return parameter


def _without_null(schema: Schema) -> Schema:
    """The schema of a parameter that is present: null only stands for an absent one."""
    alternatives = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if not alternatives:
        return {key: value for key, value in schema.items() if key not in {"anyOf", "description"}}
    (alternative,) = alternatives
    return alternative
