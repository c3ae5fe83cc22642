"""How `evaluate-source` works: read new conversations, store them, submit their evaluation."""

import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO, TypedDict, cast

from evalqueue.client import Client
from evalqueue.context import JobContext
from evalqueue.errors import InvalidParams, JobFailed, TryAgain, YieldSlot
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.formats import BadData, FormatError
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.sources import reader, store
from evalqueue.evaluators.sources.job_type import EvaluateSource
from evalqueue.evaluators.sources.reader import (
    EndedConversation,
    Position,
    SourceError,
    SourceReader,
    SourceUnavailable,
)
from evalqueue.evaluators.sources.sampling import Sample
from evalqueue.evaluators.sources.settings import Source
from evalqueue.evaluators.sources.store import Purpose
from evalqueue.settings import Settings

_ROUNDS = 5  # of an import without the conversations whose rows are bad
_SKIPPED_SHOWN = 20
_BUSY_SECONDS = 5.0


@dataclass(slots=True)
class _Counts:
    """What this attempt has done."""

    read: int = 0
    taken: int = 0
    jobs: list[str] = field(default_factory=list[str])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """Reasons by conversation."""

    @property
    def message(self) -> str:
        return f"{self.read:,} conversations read, {self.taken:,} of them evaluated"


class ReadingResult(TypedDict):
    """The result of the job."""

    read: int
    evaluated: int
    skipped: int
    skipped_conversations: dict[str, str]
    """Some of them, with the reason."""
    jobs: list[str]
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
        async with context.database.connection() as connection:
            stored = await store.position(connection, self._purpose)
        start = stored or Position(last_at=params.start(context.job.created_at))
        sample = Sample(params.sampling)
        try:
            async with (
                reader.opened(source, params.source) as opened,
                aclosing(opened.ended(start, page=params.batch_size)) as pages,
            ):
                async for page in pages:
                    if context.should_yield:
                        raise YieldSlot("Other jobs wait for this slot")
                    chosen = [each for each in page if sample.takes(each.candidate)]
                    stored = await self._page(opened, source, page, chosen, stored)
        except SourceUnavailable as error:
            raise TryAgain(str(error)) from error
        except SourceError as error:
            raise JobFailed(str(error)) from error
        return self._result(stored)

    async def _page(
        self,
        opened: SourceReader,
        source: Source,
        page: Sequence[EndedConversation],
        chosen: Sequence[EndedConversation],
        stored: Position | None,
    ) -> Position:
        """Submit the evaluation of some conversations. Returns how far the source is read now."""
        context, counts = self._context, self._counts
        end = page[-1].position
        dataset_id = await self._imported(opened, source, chosen, end)
        async with context.transaction() as connection:
            if not await store.advance(
                connection, self._purpose, start=stored, end=end, job_id=context.job.id
            ):
                raise TryAgain("Another job has read this source", after=_BUSY_SECONDS)
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
        counts.read += len(page)
        context.progress(counts.read, counts.read, counts.message)
        return end

    async def _imported(
        self,
        opened: SourceReader,
        source: Source,
        chosen: Sequence[EndedConversation],
        end: Position,
    ) -> str | None:
        """The dataset with these conversations, without those that can't be read. None: with no
        conversation."""
        for _ in range(_ROUNDS):
            if not chosen:
                return None
            with tempfile.TemporaryFile() as opened_file:
                file = cast("BinaryIO", opened_file)
                lines = await opened.write(file, chosen)
                incoming = Incoming(
                    file=file,
                    name=f"{self._params.source} {end.last_at.isoformat()}",
                    format=JSONL.name,
                    mapping=opened.columns.layout.mapping,
                    masks=source.masking,
                )
                try:
                    added = await imports.add(
                        self._context.database, incoming, owner=self._purpose.owner, kept=False
                    )
                except BadData as error:
                    chosen = self._without_bad(chosen, lines, error)
                except FormatError as error:
                    raise JobFailed(f"Source {self._params.source!r}: {error}") from error
                else:
                    self._counts.taken += len(chosen)
                    return added.dataset_id
        raise JobFailed(
            f"Source {self._params.source!r}: more rows are bad than can be left out: "
            f"{next(iter(self._counts.skipped.values()), '')}"
        )

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
        self._counts.skipped |= bad
        return [each for each in chosen if each.candidate.thread_id not in bad]

    def _result(self, stored: Position | None) -> ReadingResult:
        counts = self._counts
        skipped = dict(list(counts.skipped.items())[:_SKIPPED_SHOWN])
        return {
            "read": counts.read,
            "evaluated": counts.taken,
            "skipped": len(counts.skipped),
            "skipped_conversations": skipped,
            "jobs": counts.jobs,
            "read_until": None if stored is None else stored.last_at.isoformat(),
        }
