"""The catalogue: definitions that are ready to use, one TOML file each.

An app uses one by its name, with rules and examples of its own.
"""

import tomllib
from functools import cache
from importlib.resources import files

import tomli_w
from pydantic import TypeAdapter

from evalqueue.evaluators.definitions import validation
from evalqueue.evaluators.definitions.definition import EvaluatorDefinition

_DEFINITION = TypeAdapter(EvaluatorDefinition)


@cache
def names() -> tuple[str, ...]:
    """The names of the catalogue's evaluators."""
    found = (file.name for file in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


@cache
def load(name: str) -> EvaluatorDefinition:
    """An evaluator of the catalogue.

    Raises:
        LookupError: it has none of this name.
    """
    if name not in names():  # this also refuses a name that is a path
        raise LookupError(f"The catalogue has no {name!r}. It has {', '.join(names())}")
    file = files(__name__) / f"{name}.toml"
    definition = _DEFINITION.validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    wrong = [f"{each.loc}: {each.msg}" for each in validation.mistakes(definition)]
    if definition.name != name or wrong:
        raise ValueError(
            f"{file.name}: {'; '.join(wrong) or 'its name is not the name of the file'}"
        )
    return definition


def to_document(definition: EvaluatorDefinition) -> dict[str, object]:
    """A definition as JSON, without what is the default."""
    return _DEFINITION.dump_python(
        definition, mode="json", exclude_defaults=True, exclude_none=True
    )


def to_toml(definition: EvaluatorDefinition) -> str:
    """A definition as it is written in an app's document."""
    return tomli_w.dumps({"evaluators": [to_document(definition)]}, multiline_strings=True)
