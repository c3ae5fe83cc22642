"""Conversations as one JSON document: an array, indented objects, or objects that wrap arrays."""

from evalqueue.evaluators.formats.jsonl import JsonFormat

JSON_DOCUMENT = JsonFormat("json_document", (".json",), is_document=True)
