"""The databases that conversations are read from, as the settings name them."""

import json
from collections.abc import Mapping
from typing import Annotated, Self

from psycopg import sql
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from evalqueue.environment import EnvironmentSettings
from evalqueue.evaluators.datasets.masks import Masks
from evalqueue.evaluators.datasets.names import checked_names
from evalqueue.evaluators.formats.values.columns import ALL_COLUMNS
from evalqueue.evaluators.personal_data import PersonalData
from evalqueue.problems import Written
from evalqueue.settings import check_address

_EXAMPLE = (
    '{"support": {"address": "postgresql://reader@host/chat", "relation": "public.messages"}}'
)


class Source(BaseModel):
    """A table or view of messages in a Postgres database."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: SecretStr
    """Where the database is. Its role needs SELECT on the relation, and nothing else."""
    relation: Annotated[
        str,
        Written(
            r"^[^.\x00]{1,63}(\.[^.\x00]{1,63})?$", "a table or view, as in chats or public.chats"
        ),
    ]
    """A table or view, with its schema or without."""
    mapping: Mapping[str, str] = Field(default_factory=dict[str, str])
    """From our columns to the relation's, where the guess is wrong. "": it has no such column."""
    settle_minutes: float = Field(default=30, ge=0, le=60 * 24 * 30)
    """A conversation is evaluated once it had no message for so long."""
    masks: frozenset[PersonalData] = frozenset()
    """Personal data that is replaced before anything is stored."""
    mask_names: frozenset[str] = frozenset()
    """Names that are replaced, too."""
    owners: frozenset[str] = frozenset({"default"})
    """Whose jobs may read it: names of tokens. `default` is every caller where there are none."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: SecretStr) -> SecretStr:
        check_address(value.get_secret_value())
        return value

    @field_validator("mapping")
    @classmethod
    def _names_our_columns(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        unknown = sorted(value.keys() - set(ALL_COLUMNS))
        if unknown:
            raise ValueError(
                f"There is no column {', '.join(unknown)}. Known: {', '.join(ALL_COLUMNS)}"
            )
        return value

    @field_validator("mask_names")
    @classmethod
    def _are_names(cls, value: frozenset[str]) -> frozenset[str]:
        return frozenset(checked_names(value))

    @property
    def masking(self) -> Masks:
        """What is masked."""
        return Masks.of(self.masks, self.mask_names)

    @property
    def identifier(self) -> sql.Identifier:
        """The relation, quoted."""
        return sql.Identifier(*self.relation.split("."))


class SourceSettings(EnvironmentSettings):
    """`EVALQUEUE_SOURCES` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="EVALQUEUE_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    sources: Annotated[Mapping[str, Source], NoDecode] = Field(default_factory=dict[str, Source])
    """Databases with conversations, by name, as JSON."""

    @field_validator("sources", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            # Without the text: it holds passwords.
            reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
            raise ValueError(f"This is not JSON ({reason}). Write {_EXAMPLE}") from None

    @classmethod
    def read(cls) -> Self:
        return cls()

    def of_owner(self, owner: str) -> Mapping[str, Source]:
        """The sources that jobs of an owner may read."""
        return {name: each for name, each in self.sources.items() if owner in each.owners}
