"""Where settings come from: variables, or files that variables name.

`NAME_FILE` is the path of a file with the value of `NAME`, as Docker's and Kubernetes' secrets are
given. pydantic-settings knows only directories whose files have the settings' names.
"""

import os
import stat
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from evalqueue.errors import Refused
from evalqueue.telemetry import logs

SUFFIX = "_FILE"
FILE_MAX_BYTES = 1024 * 1024


class SettingsFileRefused(Refused):
    """A file that a variable names can't be a setting. The message has the path, no content."""


class EnvironmentSettings(BaseSettings):
    """Settings whose variables may name files. They are read once, when the object is made."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _Files(settings_cls)


class _Files(PydanticBaseSettingsSource):
    """The settings whose variables name files."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        # In lower case, and without those that are empty.
        self._variables = EnvSettingsSource(settings_cls).env_vars

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        """The content of its file, or None; the key in the settings' input; not JSON to decode."""
        alias = field.validation_alias
        key = alias if isinstance(alias, str) else field_name
        name = key if alias else f"{self.config.get('env_prefix', '')}{field_name}".upper()
        variable = f"{name.upper()}{SUFFIX}"
        path = self._variables.get(variable.lower())
        if path is None:
            return None, key, False
        if self._variables.get(name.lower()) is not None:
            raise SettingsFileRefused(f"Both {name.upper()} and {variable} are set. Unset one.")
        value = _read(variable, path)
        logs.hide({name.upper(): value})
        return value, key, False

    def __call__(self) -> dict[str, Any]:
        found = (
            self.get_field_value(field, name)
            for name, field in self.settings_cls.model_fields.items()
        )
        return {key: value for value, key, _ in found if value is not None}


def is_given(name: str) -> bool:
    """Whether the environment has a setting, itself or as the name of its file."""
    return any(os.environ.get(each, "").strip() for each in (name, name + SUFFIX))


def override(environment: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """An environment in which these variables have these values, whatever files it names."""
    files = {name + SUFFIX for name in values}
    return {name: value for name, value in environment.items() if name not in files} | dict(values)


def _read(variable: str, path: str) -> str:
    """The text of a file, without the newlines at its end.

    Raises:
        SettingsFileRefused: there is none.
    """
    try:
        # Without waiting: a pipe's opening waits for its writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(FILE_MAX_BYTES + 1) if is_file else b""
    except OSError as error:
        raise SettingsFileRefused(f"{variable}: {path}: {error.strerror}.") from error
    if not is_file:
        raise SettingsFileRefused(f"{variable}: {path} is not a regular file.")
    if len(content) > FILE_MAX_BYTES:
        raise SettingsFileRefused(f"{variable}: {path} has more than {FILE_MAX_BYTES} bytes.")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingsFileRefused(f"{variable}: {path} is not text in UTF-8.") from None
    if not text.strip():
        raise SettingsFileRefused(f"{variable}: {path} is empty.")
    return text
