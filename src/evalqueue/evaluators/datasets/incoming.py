"""A file that comes in: its format, its mapping, and the id of the dataset that it would be."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from evalqueue.evaluators.datasets.masks import NO_MASKS, Masks
from evalqueue.evaluators.formats import DateOrder, Format
from evalqueue.evaluators.formats.raw.compression import decompressed
from evalqueue.evaluators.formats.registry import format_of

CHUNK_BYTES = 1024**2  # that are read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A file to import."""

    file: BinaryIO
    """At its beginning. No other code may use it."""
    name: str
    format: str | None = None
    """None: the format that the name or the content implies."""
    mapping: Mapping[str, str] | None = None
    """From our columns to the file's headers, where the guess is wrong. "": not in the file."""
    date_order: DateOrder | None = None
    """Of dates like 1/2/2025. None: as the file decides."""
    masks: Masks = NO_MASKS
    """Personal data that is replaced before anything is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """A file whose format and id are known."""

    file: BinaryIO
    name: str
    format: Format
    mapping: Mapping[str, str]
    """The entries that differ from the guess."""
    dataset_id: str
    size_bytes: int
    file_sha256: bytes
    date_order: DateOrder | None = None
    masks: Masks = NO_MASKS
    given_mapping: Mapping[str, str] = field(default_factory=dict[str, str])


def identified(incoming: Incoming) -> Identified:
    """The format of a file, the effective mapping, and its id. Blocks.

    Raises:
        FormatError: there is no such format.
    """
    file = incoming.file
    file.seek(0)
    form = format_of(file, name=incoming.name, given=incoming.format)
    given = incoming.mapping
    inside = decompressed(file, is_cut=True)
    mapping = form.effective(inside, given) if given else dict[str, str]()
    file.seek(0)
    content = hashlib.sha256()
    size_bytes = 0
    while chunk := file.read(CHUNK_BYTES):
        content.update(chunk)
        size_bytes += len(chunk)
    file.seek(0)
    file_sha256 = content.digest()
    if mapping or incoming.date_order or incoming.masks:
        choices: list[object] = [form.name, dict(sorted(mapping.items()))]
        if incoming.date_order or incoming.masks:
            choices += [incoming.date_order, sorted(incoming.masks.kinds)]
        if incoming.masks.names:
            choices.append(incoming.masks.names)
        meaning = json.dumps(choices, ensure_ascii=True)
        content.update(b"\0" + meaning.encode())
    return Identified(
        file=file,
        name=incoming.name,
        format=form,
        mapping=mapping,
        dataset_id=f"sha256:{content.hexdigest()}",
        size_bytes=size_bytes,
        file_sha256=file_sha256,
        date_order=incoming.date_order,
        masks=incoming.masks,
        given_mapping=given or {},
    )
