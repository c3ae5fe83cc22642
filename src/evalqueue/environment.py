"""Where settings come from: variables, or files that variables name.

`NAME_FILE` is the path of a file with the value of `NAME`, as Docker's and Kubernetes' secrets are
given. pydantic-settings knows only directories whose files have the settings' names.
"""

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from pydantic import SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from evalqueue.errors import Refused
from evalqueue.problems import explained
from evalqueue.telemetry import logs

SUFFIX = "_FILE"
FILE_MAX_BYTES = 1024 * 1024


class SettingsFileRefused(Refused):
    """A file that a variable names can't be a setting. The message has the path, no content."""


class SettingsRefused(Refused):
    """Settings that can't be used, a line for each. The message has their names, no values."""


class EnvironmentSettings(BaseSettings):
    """Settings whose variables may name files. A process reads each file once."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

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

    @field_validator("*")
    @classmethod
    def _is_a_usable_secret(cls, value: object) -> object:
        """A secret without white space around it: files and shells add some."""
        if not isinstance(value, SecretStr):
            return value
        secret = value.get_secret_value().strip()
        if any(unicodedata.category(each) == "Cc" for each in secret):
            raise ValueError("There is a control character in it")
        return SecretStr(secret)


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
        name = _variable(self.settings_cls, key)
        variable = f"{name}{SUFFIX}"
        path = self._variables.get(variable.lower())
        if path is None:
            return None, key, False
        if self._variables.get(name.lower()) is not None:
            raise SettingsFileRefused(f"Both {name} and {variable} are set. Unset one.")
        value = _read(variable, path)
        logs.hide({name: value})
        return value, key, False

    def __call__(self) -> dict[str, str]:
        found = (
            self.get_field_value(field, name)
            for name, field in self.settings_cls.model_fields.items()
        )
        return {key: value for value, key, _ in found if value is not None}


def problems(models: Iterable[type[EnvironmentSettings]]) -> list[str]:
    """What is wrong with the settings of the environment, with their names and without values.

    It reads the files that they name, for the whole life of the process.
    """
    return [problem for model in models for problem in _problems(model)]


def check(models: Iterable[type[EnvironmentSettings]]) -> None:
    """Read all settings, so that a process does not start with some that it can't use.

    Raises:
        SettingsRefused: with all problems.
    """
    if found := problems(models):
        raise SettingsRefused("\n".join(found))


def _problems(model: type[EnvironmentSettings]) -> Iterator[str]:
    try:
        model()
    except SettingsFileRefused as refused:
        yield str(refused)
    except ValidationError as error:
        for each in explained(error):
            key, *inner = (str(part) for part in each["loc"] or ("",))
            where = ".".join((_variable(model, key), *inner)) + ": " if key else ""
            yield f"{where}{each['msg']}"


def _variable(model: type[BaseSettings], key: str) -> str:
    """The variable of a key in a model's input: a field, or its alias."""
    field = model.model_fields.get(key)
    prefix = model.model_config.get("env_prefix", "")
    return (key if field is None or field.validation_alias else f"{prefix}{key}").upper()


def is_given(name: str) -> bool:
    """Whether the environment has a setting, itself or as the name of its file."""
    return any(os.environ.get(each, "").strip() for each in (name, name + SUFFIX))


def override(environment: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """An environment in which these variables have these values, whatever files it names."""
    files = {name + SUFFIX for name in values}
    return {name: value for name, value in environment.items() if name not in files} | dict(values)


@cache
def _read(variable: str, path: str) -> str:
    """The text of a file, without a byte order mark and white space around it.

    It is read once: jobs and requests later must not depend on whether it is still there.

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
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SettingsFileRefused(f"{variable}: {path} is not text in UTF-8.") from None
    if not text:
        raise SettingsFileRefused(f"{variable}: {path} is empty.")
    return text
