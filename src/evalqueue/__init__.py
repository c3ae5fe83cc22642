"""A Postgres-native queue and worker daemon: chatbot conversations, evaluated by LLM judges."""

from importlib.metadata import version

from evalqueue.client import Client
from evalqueue.context import Checkpoint, JobContext, update_job_progress
from evalqueue.errors import (
    AttemptOver,
    DatabaseUnavailable,
    EvalqueueError,
    InvalidParams,
    JobFailed,
    JobNotFound,
    KeyReused,
    NotCancellable,
    NotificationsLost,
    NotRetryable,
    Postponed,
    Refused,
    SchemaOutdated,
    TryAgain,
    UnknownJobType,
    YieldSlot,
)
from evalqueue.handlers import Handlers, register_job_handler
from evalqueue.items import ItemWork
from evalqueue.jobs import Job, JobStatus, Progress
from evalqueue.jobtypes import JobParams
from evalqueue.settings import Settings
from evalqueue.sync_client import SyncClient

__version__ = version("evalqueue")

__all__ = [
    "AttemptOver",
    "Checkpoint",
    "Client",
    "DatabaseUnavailable",
    "EvalqueueError",
    "Handlers",
    "InvalidParams",
    "ItemWork",
    "Job",
    "JobContext",
    "JobFailed",
    "JobNotFound",
    "JobParams",
    "JobStatus",
    "KeyReused",
    "NotCancellable",
    "NotRetryable",
    "NotificationsLost",
    "Postponed",
    "Progress",
    "Refused",
    "SchemaOutdated",
    "Settings",
    "SyncClient",
    "TryAgain",
    "UnknownJobType",
    "YieldSlot",
    "register_job_handler",
    "update_job_progress",
]
