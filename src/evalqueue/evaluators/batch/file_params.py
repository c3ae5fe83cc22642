"""The params of a job about the file that it brings, and about personal data in it."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from evalqueue.errors import InvalidParams, Problem
from evalqueue.evaluators.apps import UnknownApp
from evalqueue.evaluators.datasets.masks import Masks
from evalqueue.evaluators.datasets.names import read_names
from evalqueue.evaluators.formats import BadData, BadRow, DateOrder, FormatError
from evalqueue.evaluators.formats.data_directory import FileError, read_confined
from evalqueue.evaluators.judging.registry import UnknownEvaluator
from evalqueue.evaluators.personal_data import PersonalData
from evalqueue.evaluators.providers.registry import ProviderUnavailable

_NAMES_MAX_BYTES = 16 * 1024**2


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [each for each in map(str.strip, value.lower().split(",")) if each]


class FileParams(BaseModel):
    """A file, and what is replaced in it before anything of it is stored."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data_path: str | None = Field(default=None, min_length=1)
    """A file inside `EVALQUEUE_DATA_DIR`. It is stored when the job is submitted; beside
    `dataset_id` it only says what that was called."""
    csv_content: str | None = None
    """The file itself. It is stored once, by its hash; the job keeps `dataset_id` instead."""
    date_order: DateOrder | None = None
    """What 1/2/2025 means in the file: `day-first` or `month-first`. Without it, as the file
    decides; a file that does not decide is refused."""
    mask: Annotated[list[PersonalData], BeforeValidator(_split)] | None = None
    """Personal data to replace in the file before it is stored: `emails`, `phones`, `cards`."""
    mask_names: list[str] | None = None
    """Names to replace in `csv_content`, too. They are not stored."""
    mask_names_path: str | None = Field(default=None, min_length=1)
    """A file inside `EVALQUEUE_DATA_DIR` with names, one on each line, to replace in the file of
    `data_path`, too."""

    @model_validator(mode="after")
    def _masks_a_file(self) -> Self:
        if self.mask and self.data_path is None and self.csv_content is None:
            raise ValueError(
                "mask: a stored dataset is as it was stored. Mask a file when it is stored, by "
                "data_path or csv_content"
            )
        if self.mask_names and self.csv_content is None:
            raise ValueError(
                "mask_names: for csv_content. Names beside data_path are in a file: mask_names_path"
            )
        if self.mask_names_path and self.data_path is None:
            raise ValueError("mask_names_path: for data_path")
        return self

    async def masks(self, data_directory: Path) -> Masks:
        """What to mask. The file of names is read.

        Raises:
            InvalidParams: they are no names.
        """
        field = "mask_names" if self.mask_names_path is None else "mask_names_path"
        try:
            names = self.mask_names
            if self.mask_names_path is not None:
                names = await asyncio.to_thread(self._names, data_directory, self.mask_names_path)
            return Masks.of(self.mask, names)
        except FileError as error:
            raise InvalidParams.of(field, f"The file {error.reason}") from error
        except ValueError as error:
            raise InvalidParams.of(field, str(error)) from error

    def _names(self, data_directory: Path, path: str) -> list[str]:
        content = read_confined(data_directory, path, max_bytes=_NAMES_MAX_BYTES)
        return list(read_names(content.decode("utf-8")))


def problems(
    field: str, error: FormatError, *, inside: tuple[str, ...] = ("params",)
) -> list[Problem]:
    """What a source complains about, as problems of the field that named it."""
    if not isinstance(error, BadData):
        return [Problem(loc=(*inside, field), msg=str(error))]
    listed = [
        Problem(loc=(*inside, field), msg=str(row), type="bad_row", ctx=_where(row))
        for row in error.rows
    ]
    if error.more:
        listed.append(Problem(loc=(*inside, field), msg=f"… and {error.more} more bad rows"))
    return listed


def _where(row: BadRow) -> dict[str, object]:
    return {"file": row.file, "row": row.row, "column": row.column, "reason": row.reason}


@contextmanager
def refusals(source_field: str) -> Generator[None]:
    """Names the param of what is refused.

    Args:
        source_field: the param that names the conversations.

    Raises:
        InvalidParams: something is refused.
    """
    try:
        yield
    except ProviderUnavailable as error:
        raise InvalidParams.of(error.field, error.message) from error
    except UnknownApp as error:
        raise InvalidParams.of("app_id", str(error)) from error
    except UnknownEvaluator as error:
        raise InvalidParams.of("evaluators", str(error)) from error
    except FormatError as error:
        raise InvalidParams(problems(source_field, error)) from error
