"""Arguments of commands: params, JSON objects and times."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from evalqueue import codec
from evalqueue.errors import Refused


def read_params(document: str, pairs: Sequence[str]) -> dict[str, object]:
    """The params of `--params`, with those that are given one by one on top.

    Args:
        pairs: `key=text`, `key:=JSON`, or `-` for a JSON object on stdin.

    Raises:
        Refused: one of them can't be read.
    """
    params = read_object("--params", document)
    for pair in pairs:
        if pair == "-":
            params |= read_object("stdin", pair)
            continue
        key, separator, value = pair.partition("=")
        if not separator or not key.removesuffix(":"):
            raise Refused(f"{pair}: params are given as key=text, as key:=JSON, or as - for stdin.")
        if key.endswith(":"):
            params[key[:-1]] = _read_json(key[:-1], value)
        else:
            _refuse_file(key, value)
            params[key] = value
    return params


def _refuse_file(key: str, value: str) -> None:
    """Refuse a file in the place of a text. It is not read: who lets others choose a text would let
    them read files."""
    name = value[1:]
    if (
        value.startswith("@")
        and "\n" not in name
        and (key == "csv_content" or os.path.isfile(name))
    ):
        raise Refused(
            f"{key}={value}: files are read by --params @FILE only. For conversations: evalqueue "
            f"datasets add {name}, then dataset_id=ID"
        )


def model_params(max_output_tokens: int | None, model_settings: str | None) -> dict[str, object]:
    """The params about the requests to the LLM, as far as they are given.

    Raises:
        Refused: the settings are not a JSON object.
    """
    params: dict[str, object] = {}
    if max_output_tokens is not None:
        params["max_output_tokens"] = max_output_tokens
    if model_settings is not None:
        params["model_settings"] = read_object("--model-settings", model_settings)
    return params


def cap_params(max_cost: str | None, max_tokens: int | None) -> dict[str, object]:
    """The params about what the LLM calls may use, as far as they are given."""
    given = {"max_cost": max_cost, "max_tokens": max_tokens}
    return {name: value for name, value in given.items() if value is not None}


def read_object(name: str, document: str) -> dict[str, object]:
    """A JSON object: the text itself, `@FILE`, or `-` for stdin.

    Args:
        name: of the argument, for the error message.

    Raises:
        Refused: it can't be read, or is not a JSON object.
    """
    if document == "-":
        document = sys.stdin.read()
    elif document.startswith("@"):
        try:
            document = Path(document[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{name}: can't read {document[1:]}: {error}") from error
    value = _read_json(name, document)
    if not isinstance(value, dict):
        raise Refused(f"{name}: a JSON object is needed, this is {type(value).__name__}.")
    return cast("dict[str, Any]", value)  # the keys of a JSON object are text


def read_time(name: str, text: str | None) -> datetime | None:
    """A time as in RFC 3339, with its time zone.

    Raises:
        Refused: it is none, or has no time zone.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{name}: this is not a time: {error}") from error
    if time.tzinfo is None:
        raise Refused(
            f"{name}: the time zone is missing. Write {text}Z for UTC, or an offset: +01:00"
        )
    return time


def _read_json(name: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=codec.once)
    except codec.RepeatedKey as error:
        raise Refused(f"{name}: {error}.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise Refused(f"{name}: this is not JSON: {error}") from error
