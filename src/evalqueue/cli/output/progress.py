"""A job's progress on stderr: a bar on a terminal, else a line once in a while."""

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from evalqueue.cli.output.console import print_message, rich_console
from evalqueue.cli.output.jobs import join_fields, progress_text, queue_position
from evalqueue.cli.output.times import format_duration
from evalqueue.jobs import Job, JobStatus

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_INTERVAL_SECONDS = 1.0  # between two lines of progress where there is no terminal


@dataclass(slots=True)
class ProgressRate:
    """Items per second since watching began; items done before that are not counted, because the
    time they took is unknown."""

    began: float | None = None
    done_before: int = 0

    def describe(self, now: float, current: int, total: int) -> str:
        """The rate and the time left, as text; "" while the rate is unknown.

        Args:
            now: seconds of a monotonic clock.
        """
        if self.began is None or current < self.done_before:
            self.began, self.done_before = now, current
        done, seconds = current - self.done_before, now - self.began
        if done <= 0 or seconds <= 0:
            return ""
        rate = done / seconds
        left = f", ETA {format_duration((total - current) / rate)}" if total > current else ""
        return f"{rate:.1f}/s{left}" if rate >= 1 else f"{rate * 60:.1f}/min{left}"


class ProgressLine:
    """Shows a job's progress while it is watched."""

    def __init__(self) -> None:
        self._rate = ProgressRate()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._last_line: tuple[JobStatus, float] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("", total=None, count="", rate="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, job: Job) -> None:
        """Show the job's progress now."""
        now = time.monotonic()
        progress = job.progress
        rate = self._rate.describe(now, progress.current, progress.total)
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=str(job.status),
                completed=progress.current,
                total=progress.total or None,
                count=progress_text(job),
                rate=join_fields(rate, queue_position(job), progress.message),
            )
        elif self._is_due(job, now):
            self._last_line = (job.status, now)
            print_message(
                join_fields(
                    str(job.status), progress_text(job), rate, queue_position(job), progress.message
                )
            )

    def _is_due(self, job: Job, now: float) -> bool:
        if self._last_line is None:
            return True
        status, when = self._last_line
        return job.status is not status or now - when >= LINE_INTERVAL_SECONDS


def _bar() -> "Bar":
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        console=rich_console(stderr=True),
    )
