"""Job types: a typed params model *is* the job type. One declaration, shared by the
program that submits and the worker that handles.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from pydantic import ConfigDict, ValidationError

from evalqueue.errors import InvalidParams, Problem, UnknownJobType
from evalqueue.problems import StrictNumbers, explained
from evalqueue.settings import Settings

if TYPE_CHECKING:
    from evalqueue.postgres.database import Connection, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionContext:
    """What `JobParams.admit` may look at."""

    settings: Settings
    database: "Database"
    owner: str = "default"
    """Whose job it will be."""
    sees: str | None = None
    """The owner whose runs the params may name; None: everybody's."""
    is_due: bool = True
    """Whether the job is to start as soon as possible, and not at a later time."""


class JobParams(StrictNumbers):
    """The params of a job type:

        class Greet(JobParams, job_type="greet"):
            name: str

    Unknown fields are refused: a misspelt one must not become a silent default. Docstrings of
    fields are their descriptions in the OpenAPI document.
    """

    # Errors name the field and never repeat what was in it: it may be a secret.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    job_type: ClassVar[str] = ""

    def __init_subclass__(cls, job_type: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if job_type is not None:
            cls.job_type = job_type

    @classmethod
    async def declare(cls, connection: "Connection") -> None:
        """Write down what the database must know of this job type, idempotently.

        Called by a worker when it starts, and by a client before it first submits such a job.
        """

    async def admit(self, admission: AdmissionContext) -> Self:
        """Look at the world before the job is stored: refuse what can't work, fill in what is open.

        Raises:
            InvalidParams: naming the fields, and what to do.
        """
        return self

    async def admit_retry(self, admission: AdmissionContext) -> None:
        """Look at the world before a new job continues one with these params.

        Raises:
            InvalidParams: it would end at once.
        """

    async def warnings(
        self, admission: AdmissionContext, given: "JobParams | None" = None
    ) -> Sequence[str]:
        """What a person should know about a job that was stored with these params.

        Args:
            admission: as of `admit`.
            given: the params as they were submitted. None: they are not known.
        """
        return ()

    def stored(self) -> dict[str, object]:
        """The params as the job's row keeps them: what was set, no defaults of today."""
        return self.model_dump(mode="json", exclude_unset=True)

    def lasting(self) -> dict[str, object]:
        """The params as a schedule keeps them: what is looked up anew each time is left open."""
        return self.stored()


Params = TypeVar("Params", bound=JobParams)


class JobTypes(Mapping[str, type[JobParams]]):
    """The job types a process knows, by name."""

    def __init__(self, models: Iterable[type[JobParams]] = ()) -> None:
        self._models: dict[str, type[JobParams]] = {}
        for model in models:
            self.add(model)

    def add(self, model: type[JobParams]) -> None:
        """Make a job type known. A name belongs to one model."""
        if not model.job_type:
            raise TypeError(
                f'{model.__name__} has no name: class {model.__name__}(JobParams, job_type="…")'
            )
        if self._models.setdefault(model.job_type, model) is not model:
            raise TypeError(f"Two models for the job type {model.job_type!r}")

    def decode(self, job_type: str, params: Mapping[str, Any]) -> JobParams:
        """Params from outside become a typed value.

        Raises:
            UnknownJobType: no such job type here.
            InvalidParams: all that is wrong with them, field by field.
        """
        model = self._models.get(job_type)
        if model is None:
            raise UnknownJobType(job_type, list(self._models))
        return decoded(model, params)

    def __getitem__(self, job_type: str) -> type[JobParams]:
        return self._models[job_type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)


def decoded(model: type[Params], params: Mapping[str, Any]) -> Params:
    """Params from outside as what a job type takes.

    Raises:
        InvalidParams: all that is wrong with them, field by field.
    """
    try:
        return model.model_validate(params)
    except ValidationError as error:
        raise InvalidParams(_problems(error)) from error


def _problems(error: ValidationError) -> list[Problem]:
    return [
        Problem(
            loc=("params", *each["loc"]),
            msg=each["msg"],
            type=each["type"],
        )
        for each in explained(error)
    ]
