"""What a process of ours does first: its logs, and the export of its traces.

A program that imports the library, or runs a worker inside itself, keeps its own.
"""

import sys
from pathlib import Path

from evalqueue.settings import Settings
from evalqueue.telemetry import exporters, logs
from evalqueue.telemetry.logs import LogLevel


def begin(settings: Settings, *, level: LogLevel, service_name: str | None = None) -> None:
    """Set up a process of ours.

    Args:
        settings: the format of its logs, and their level if the environment has one.
        level: of its logs else.
        service_name: what its traces are called, if it has any.
    """
    logs.write(settings.log_format, settings.log_level or level)
    logs.silence_libraries()
    if service_name is not None:
        exporters.start(service_name)


def begin_worker_of_procrastinate(settings: Settings) -> None:
    """Set up the process if it is the command line `procrastinate`.

    Its flags have set up its logs: their level stays, unless our settings have one. Their format is
    ours, which hides secrets and lets no value begin a new line.
    """
    if not _is_procrastinate(Path(sys.argv[0])):
        return
    logs.reformat(settings.log_format)
    if settings.log_level is not None:
        logs.set_level(settings.log_level)
    logs.silence_pool()
    exporters.start("evalqueue-worker")


def _is_procrastinate(program: Path) -> bool:
    """Whether that is its script, or `python -m procrastinate`."""
    return program.stem == "procrastinate" or program.parent.name == "procrastinate"
