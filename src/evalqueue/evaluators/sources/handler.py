"""How `evaluate-source` works: read new conversations, store them, submit their evaluation."""

import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO, TypedDict, cast

from evalqueue.client import Client
from evalqueue.context import JobContext
from evalqueue.errors import InvalidParams, JobFailed, TryAgain, YieldSlot
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.formats import BadData, FormatError
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.sources import reader, store
from evalqueue.evaluators.sources.candidates import (
    EndedConversation,
    OpenSource,
    Position,
    SourceError,
    SourceUnavailable,
)
from evalqueue.evaluators.sources.job_type import FIRST_READING, EvaluateSource
from evalqueue.evaluators.sources.posted import PostedSource
from evalqueue.evaluators.sources.sampling import Sample, Skip
from evalqueue.evaluators.sources.settings import Source
from evalqueue.evaluators.sources.store import Purpose, ReadSoFar
from evalqueue.settings import Settings

_ROUNDS = 5  # of an import without the conversations whose rows are bad
_SKIPPED_SHOWN = 20
_BUSY_SECONDS = 5.0
_FORGOTTEN = "its user was forgotten, and the same content is not stored again"
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)  # before anything was posted


@dataclass(slots=True)
class _Counts:
    """What this attempt has done."""

    earlier: ReadSoFar = field(default_factory=ReadSoFar)
    """By earlier attempts."""
    read: int = 0
    taken: int = 0
    skipped: int = 0
    jobs: list[str] = field(default_factory=list[str])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    """Why some conversations were skipped, by conversation."""
    began_at: float = field(default_factory=time.monotonic)

    def message(self, total: int) -> str:
        """How far it is, and how long the rest may take."""
        read, taken = self.earlier.matched + self.read, self.earlier.sampled + self.taken
        text = f"{read:,} of {total:,} conversations read, {taken:,} of them evaluated"
        left = total - read
        if left <= 0 or not self.read:
            return text
        minutes = (time.monotonic() - self.began_at) / self.read * left / 60
        return f"{text}; about {max(1, round(minutes)):,} min left"

    def skip(self, bad: dict[str, str]) -> None:
        self.skipped += len(bad)
        for thread_id, reason in bad.items():
            if len(self.reasons) < _SKIPPED_SHOWN:
                self.reasons[thread_id] = reason


class ReadingResult(TypedDict):
    """The result of the job."""

    read: int
    evaluated: int
    skipped: int
    skipped_conversations: dict[str, str]
    """Some of them, with the reason."""
    jobs: list[str]
    """Of the last attempt."""
    read_until: str | None


class SourceRun:
    """One attempt at reading a source."""

    def __init__(self, context: JobContext, params: EvaluateSource, settings: Settings) -> None:
        self._context = context
        self._params = params
        self._client = Client(settings=settings, database=context.database)
        self._purpose = Purpose(owner=context.job.owner, source=params.source, name=params.position)
        self._counts = _Counts()

    async def run(self) -> ReadingResult:
        """Read all that is new.

        Raises:
            JobFailed: the source or its conversations can't be read as they are.
            TryAgain: the source's database is away, or another job reads it.
            YieldSlot: other jobs wait for this slot; a later attempt goes on.
        """
        params, context = self._params, self._context
        try:
            source = params.configured(context.job.owner)
        except InvalidParams as error:
            raise JobFailed(str(error)) from error
        sample = Sample(params.sampling)
        try:
            async with context.database.connection() as connection:
                self._counts.earlier = await store.read_by(connection, context.job.id)
            async with self._opened(source) as opened:
                async with context.database.connection() as connection:
                    stored = await store.position(connection, self._purpose)
                start = stored or Position(last_at=params.start(context.job.created_at))
                async with aclosing(opened.ended(start, page=params.batch_size)) as pages:
                    async for page in pages:
                        if context.should_yield:
                            raise YieldSlot("Other jobs wait for this slot")
                        stored = await self._page(opened, page, sample, stored)
        except SourceUnavailable as error:
            raise TryAgain(str(error)) from error
        except SourceError as error:
            raise JobFailed(str(error)) from error
        return self._result(stored)

    @asynccontextmanager
    async def _opened(self, source: Source | None) -> AsyncGenerator[OpenSource]:
        params, context = self._params, self._context
        within = params.range_of(source)
        if source is not None:
            async with reader.opened(source, params.source, within) as opened:
                yield opened
            return
        async with context.transaction() as connection:
            start = await store.begun(
                connection,
                self._purpose,
                start=context.job.created_at - FIRST_READING,
                job_id=context.job.id,
            )
        yield PostedSource(
            context.database,
            owner=self._purpose.owner,
            name=self._purpose.name,
            # `since` is about the times of messages, which may come much later.
            start=start if params.since is None else _ALWAYS,
            goes_on=self._counts.earlier.matched > 0,
            within=within,
        )

    async def _page(
        self,
        opened: OpenSource,
        page: Sequence[EndedConversation],
        sample: Sample,
        stored: Position | None,
    ) -> Position:
        """Submit the evaluation of some conversations. Returns how far the source is read now."""
        context, counts = self._context, self._counts
        end = page[-1].position
        skips = {each.candidate.thread_id: sample.skip(each.candidate) for each in page}
        skipped = Counter(reason for reason in skips.values() if reason is not None)
        chosen = [each for each in page if skips[each.candidate.thread_id] is None]
        dataset_id, taken = await self._imported(opened, chosen, end)
        skipped[Skip.UNREADABLE] = len(chosen) - taken
        async with context.transaction() as connection:
            if not await store.advance(
                connection, self._purpose, start=stored, end=end, job_id=context.job.id
            ):
                raise TryAgain("Another job has read this source", after=_BUSY_SECONDS)
            await opened.mark(connection, page)
            job = None
            if dataset_id is not None:
                name = f"{self._params.source} until {end.last_at:%Y-%m-%d %H:%M} UTC"
                try:
                    job = await self._client.submit(
                        self._params.batch(dataset_id, name=name),
                        connection=connection,
                        owner=context.job.owner,
                        queue=context.job.queue,
                        priority=context.job.priority,
                    )
                except InvalidParams as error:
                    raise JobFailed(str(error)) from error
                counts.jobs.append(str(job.id))
            await store.note_reading(
                connection,
                self._purpose,
                job_id=context.job.id,
                run_id=None if job is None else job.run_id,
                sampled=taken,
                skipped=skipped,
            )
        counts.read += len(page)
        read = counts.earlier.matched + counts.read
        total = max(counts.earlier.matched + opened.total, read)
        context.progress(read, total, counts.message(total))
        return end

    async def _imported(
        self, opened: OpenSource, chosen: Sequence[EndedConversation], end: Position
    ) -> tuple[str | None, int]:
        """The dataset with these conversations, without those that can't be read, and how many it
        has. None: it would have none."""
        for _ in range(_ROUNDS):
            if not chosen:
                return None, 0
            with tempfile.TemporaryFile() as opened_file:
                file = cast("BinaryIO", opened_file)
                lines = await opened.write(file, chosen)
                there = len(set(lines))  # without those that were removed meanwhile
                if not there:
                    return None, 0
                incoming = Incoming(
                    file=file,
                    name=f"{self._params.source} {end.last_at.isoformat()}",
                    format=JSONL.name,
                    mapping=opened.mapping,
                    masks=opened.masks,
                )
                try:
                    added = await imports.add(
                        self._context.database, incoming, owner=self._purpose.owner, kept=False
                    )
                except BadData as error:
                    chosen = self._without_bad(chosen, lines, error)
                    continue
                except FormatError as error:
                    raise JobFailed(f"Source {self._params.source!r}: {error}") from error
                async with self._context.database.connection() as connection:
                    stored = await store.conversations(connection, added.dataset_id)
                self._counts.taken += len(stored)
                if len(stored) < there:
                    self._skip_forgotten(lines, stored)
                return (added.dataset_id if stored else None), len(stored)
        raise JobFailed(
            f"Source {self._params.source!r}: more rows are bad than can be left out: "
            f"{next(iter(self._counts.reasons.values()), '')}"
        )

    def _skip_forgotten(self, lines: Sequence[str], stored: Collection[str]) -> None:
        """Count the conversations that are not in a dataset of the same content any more."""
        written = dict.fromkeys(lines)
        gone = [each for each in written if each not in stored]
        if len(gone) == len(written) - len(stored):
            self._counts.skip(dict.fromkeys(gone, _FORGOTTEN))
        else:  # ids were masked
            self._counts.skipped += len(written) - len(stored)

    def _without_bad(
        self, chosen: Sequence[EndedConversation], lines: Sequence[str], error: BadData
    ) -> list[EndedConversation]:
        """The conversations that have no bad row."""
        bad = {
            lines[each.row - 1]: f"{each.column or 'row'}: {each.reason}"
            for each in error.rows
            if each.row is not None and each.row <= len(lines)
        }
        if not bad:  # the relation as a whole is not as it must be
            raise JobFailed(f"Source {self._params.source!r}: {error}") from error
        self._counts.skip(bad)
        return [each for each in chosen if each.candidate.thread_id not in bad]

    def _result(self, stored: Position | None) -> ReadingResult:
        counts = self._counts
        return {
            "read": counts.earlier.matched + counts.read,
            "evaluated": counts.earlier.sampled + counts.taken,
            "skipped": counts.earlier.unreadable + counts.skipped,
            "skipped_conversations": counts.reasons,
            "jobs": counts.jobs,
            "read_until": None if stored is None else stored.last_at.isoformat(),
        }
