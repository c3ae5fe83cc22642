"""What deleting old LLM calls costs, and what partitions of `api_logs` would change.

    ./run bench retention [--calls 5000000] [--days 90] [--partitions 30 7 1] [--rounds 5]

Runs of 1,000 calls each are spread over so many days. The same calls are in `api_logs` and in
copies of it that are partitioned, with the same indexes, foreign key and trigger. Measured are
inserts as workers make them, the reads of a run, and deleting the oldest third: `evalqueue_prune`
and VACUUM against DROP TABLE. Times are medians of alternating rounds, on a Postgres of its own
with default settings.
"""

import argparse
import asyncio
import json
import re
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import records
from processes import postgres

from evalqueue.evaluators.providers.recorder import new_call_id
from evalqueue.postgres.queries import load

CALLS_OF_RUN = 1000
FILLED_AT_ONCE = 250_000
WRITTEN_AT_ONCE = 10  # as workers write: what was answered in 50 ms
PLAIN = "api_logs"
RUNS = """
    INSERT INTO eval_runs (id, command, status, owner, created_at, started_at, completed_at)
    SELECT gen_random_uuid(), 'evaluate-batch', 'completed', 'owner-' || n %% 100, past, past, past
    FROM generate_series(0, %(runs)s - 1) AS n, LATERAL (
        SELECT now() - make_interval(secs => %(days)s * 86400.0 * (1 - n::float / %(runs)s))
    ) AS at (past)
"""
CALLS = """
    WITH run AS (
        SELECT id, created_at, row_number() OVER (ORDER BY created_at) - 1 AS n FROM eval_runs
    )
    INSERT INTO api_logs (run_id, thread_id, evaluator, provider, model, method, outcome,
        try_number, prompt, response, duration_ms, tokens_in, tokens_out, parameters, request_hash,
        question_hash, attempt, started_at, created_at)
    SELECT run.id, 't' || number %% 185, 'evaluator-' || number %% 4, 'openai', 'model',
        'generate_json', 'ok', 1, repeat(md5(number::text), 8), '{}', 100 + number %% 900, 900, 60,
        '{"temperature": 0.1}', sha256(number::text::bytea),
        substr(sha256(number::text::bytea), 1, 16), 1, run.created_at, run.created_at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
    JOIN run ON run.n = number / %(of_run)s
"""


@dataclass
class Bench:
    """A session on the measured server, and what was found there."""

    session: psycopg.Connection[Any]
    given: argparse.Namespace
    variants: dict[str, int]
    """Tables, and the days of their partitions; 0: it has none."""
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    def execute(self, statement: str, **arguments: object) -> Sequence[Any] | None:
        cursor = self.session.execute(statement.encode(), arguments or None)
        return cursor.fetchone() if cursor.description else None

    def value(self, statement: str, **arguments: object) -> Any:
        row = self.execute(statement, **arguments)
        assert row is not None
        return row[0]

    def note(self, figure: str, variant: str, value: float) -> None:
        self.figures.setdefault(figure, {})[variant] = value
        print(f"  {figure:44} {variant:9} {value:12.2f}", flush=True)

    def fill(self) -> None:
        """All variants get the same rows, then their indexes."""
        definitions = self.indexes()
        self.execute("SET session_replication_role = replica")
        runs = self.given.calls // CALLS_OF_RUN
        self.execute(RUNS, runs=runs, days=self.given.days)
        for statement in definitions:
            self.execute(dropped(statement))
        for first in range(0, self.given.calls, FILLED_AT_ONCE):
            last = min(first + FILLED_AT_ONCE, self.given.calls) - 1
            self.execute(CALLS, first=first, last=last, of_run=CALLS_OF_RUN)
        for variant, days in self.variants.items():
            if days:
                self.partition(variant, days)
            for statement in definitions:
                self.execute(made(statement, variant, is_partitioned=days > 0))
            self.execute(f"VACUUM ANALYZE {variant}")
        self.execute("SET session_replication_role = origin")

    def indexes(self) -> list[str]:
        rows = self.session.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'api_logs'"
            " AND indexname <> 'api_logs_pkey' ORDER BY 1"
        )
        return [row[0] for row in rows.fetchall()]

    def partition(self, variant: str, days: int) -> None:
        """An empty copy in partitions of so many days, from the oldest call until a month ahead."""
        self.execute(
            f"CREATE TABLE {variant} (LIKE api_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
            f" INCLUDING IDENTITY, FOREIGN KEY (run_id) REFERENCES eval_runs ON DELETE CASCADE,"
            f" PRIMARY KEY (id, started_at)) PARTITION BY RANGE (started_at)"
        )
        begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        begin -= timedelta(days=self.given.days + 1)
        for number in range((self.given.days + 8) // days + 1):
            lower = begin + timedelta(days=number * days)
            self.execute(
                f"CREATE TABLE {variant}_{lower:%Y%m%d} PARTITION OF {variant} FOR VALUES"
                f" FROM ('{lower}') TO ('{lower + timedelta(days=days)}')"
            )
        copied = f"INSERT INTO {variant} OVERRIDING SYSTEM VALUE SELECT * FROM api_logs"  # noqa: S608
        self.execute(copied)
        self.execute(
            f"CREATE TRIGGER count_usage AFTER INSERT ON {variant} REFERENCING NEW TABLE AS"
            f" new_calls FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_count_usage()"
        )

    def alternately(self, figure: str, work: Callable[[str], float]) -> None:
        """Medians of what one round of each variant came to, in turn."""
        found: dict[str, list[float]] = {variant: [] for variant in self.variants}
        for _ in range(self.given.rounds):
            for variant, values in found.items():
                values.append(work(variant))
        for variant, values in found.items():
            self.note(figure, variant, statistics.median(values))

    def inserts(self) -> None:
        """Batches of calls by the statement of the workers, each in a transaction of its own."""
        run_id = self.value("SELECT id FROM eval_runs ORDER BY created_at DESC LIMIT 1")
        log = as_text(load("evaluation/runs")["log"])
        wal: dict[str, list[float]] = {}

        def written(variant: str) -> float:
            statement = log.replace("api_logs", variant)
            if self.variants[variant]:
                statement = statement.replace("(call_id)", "(call_id, started_at)")
            before, begun = self.wal(), time.perf_counter()
            for _ in range(500):
                self.execute(statement, calls=json.dumps(calls(run_id, WRITTEN_AT_ONCE)))
            took = time.perf_counter() - begun
            wal.setdefault(variant, []).append((self.wal() - before) / 500 / WRITTEN_AT_ONCE)
            return took * 1000 / 500

        self.alternately(f"insert of {WRITTEN_AT_ONCE} calls, ms", written)
        for variant, values in wal.items():
            self.note("WAL of an inserted call, bytes", variant, statistics.median(values))

    def reads(self) -> None:
        """What workers and pages read, of a run in the middle; statements are prepared."""
        middle = self.given.calls // CALLS_OF_RUN // 2
        row = self.execute(
            "SELECT id, owner FROM eval_runs ORDER BY created_at OFFSET %(n)s LIMIT 1", n=middle
        )
        assert row is not None
        arguments = {
            "run_id": row[0], "owner": row[1], "thread_id": "t7", "thread_ids": ["t7"],
            "job_id": uuid.UUID(int=0), "limit": 50, "offset": 0, "max_age_seconds": 864000,
            "question_hash": self.value("SELECT question_hash FROM api_logs WHERE run_id = %(run)s"
                                        " LIMIT 1", run=row[0]),
        }  # fmt: skip
        for group, name in (
            ("runs", "logs"), ("runs", "logs_of_thread"), ("runs", "recorded"), ("runs", "usage"),
            ("figures", "calls"), ("earlier_runs", "answers"),
        ):  # fmt: skip
            text = as_text(load(f"evaluation/{group}")[name])

            def asked(variant: str, text: str = text) -> float:
                statement = text.replace("api_logs", variant).encode()
                times: list[float] = []
                for _ in range(40):
                    begun = time.perf_counter()
                    self.session.execute(statement, arguments, prepare=True).fetchall()
                    times.append((time.perf_counter() - begun) * 1000)
                return statistics.median(times)

            self.alternately(f"{group}.{name}, ms", asked)
            for variant in self.variants:
                self.note(f"{group}.{name}, locks", variant, self.locks(text, variant, arguments))

    def locks(self, text: str, variant: str, arguments: dict[str, Any]) -> float:
        """How many relations one statement locks."""
        with self.session.transaction():
            self.session.execute(text.replace("api_logs", variant).encode(), arguments)
            return self.value("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"
                              " AND locktype = 'relation'")  # fmt: skip

    def deletion(self) -> None:
        """The oldest third: seconds and WAL, with the vacuum that it needs."""
        keep = timedelta(days=self.given.days * 2 / 3)
        before, begun = self.wal(), time.perf_counter()
        while self.value("SELECT evalqueue_prune(NULL, NULL, %(keep)s)", keep=keep):
            pass
        self.note("deleting a third, s", PLAIN, time.perf_counter() - begun)
        self.execute("VACUUM api_logs")
        self.note("with the vacuum, s", PLAIN, time.perf_counter() - begun)
        self.note("WAL of it, MB", PLAIN, (self.wal() - before) / 1e6)
        for variant, days in self.variants.items():
            if not days:
                continue
            names = self.session.execute(
                "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"
                " AND relname LIKE %s AND right(relname, 8)::date < now() - %s::interval",
                [variant + "_%", keep + timedelta(days=days)],
            )
            before, begun = self.wal(), time.perf_counter()
            for (name,) in names.fetchall():
                self.execute(f"DROP TABLE {name}")
            self.note("deleting a third, s", variant, time.perf_counter() - begun)
            self.note("WAL of it, MB", variant, (self.wal() - before) / 1e6)

    def wal(self) -> float:
        return float(self.value("SELECT pg_current_wal_insert_lsn() - '0/0'"))


def as_text(statement: object) -> str:
    return statement.decode() if isinstance(statement, bytes) else str(statement)


def dropped(index: str) -> str:
    name = index.split(" INDEX ")[1].split(maxsplit=1)[0]
    if "UNIQUE" in index:
        return f"ALTER TABLE api_logs DROP CONSTRAINT {name}"
    return f"DROP INDEX {name}"


def made(index: str, variant: str, *, is_partitioned: bool) -> str:
    if is_partitioned:
        index = index.replace("(call_id)", "(call_id, started_at)")
    return re.sub(r"INDEX \w+ ON \S*api_logs", f"INDEX ON {variant}", index)


def calls(run_id: uuid.UUID, count: int) -> list[dict[str, Any]]:
    """Rows of calls as workers send them."""
    return [
        {
            "run_id": str(run_id), "job_id": str(uuid.UUID(int=0)), "call_id": str(new_call_id()),
            "thread_id": f"t{n}", "evaluator": "evaluator-1", "provider": "openai",
            "model": "model", "method": "generate_json", "outcome": "ok", "try_number": 1,
            "prompt": "x" * 256, "response": "{}", "duration_ms": 100.0, "tokens_in": 900,
            "tokens_out": 60, "parameters": {"temperature": 0.1}, "batched": False,
            "request_hash": f"\\x{uuid.uuid4().hex * 2}", "question_hash": f"\\x{uuid.uuid4().hex}",
            "attempt": 1, "started_at": datetime.now(UTC).isoformat(),
        }
        for n in range(count)
    ]  # fmt: skip


def table(figures: dict[str, dict[str, float]]) -> str:
    variants = list(next(iter(figures.values())))
    lines = [f"| | {' | '.join(variants)} |", "|---|" + "---|" * len(variants)]
    for name, values in figures.items():
        cells = (f"{values[each]:,.2f}" if each in values else "" for each in variants)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


async def measure(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    variants = {PLAIN: 0} | {f"by_{days}_days": days for days in given.partitions}
    async with postgres() as database:
        with psycopg.connect(database.conninfo, autocommit=True) as session:
            bench = Bench(session, given, variants)
            for step in (bench.fill, bench.inserts, bench.reads, bench.deletion):
                step()
            return bench.figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5_000_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--partitions", type=int, nargs="*", default=[30, 7, 1], metavar="DAYS")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    measured_on = records.machine()
    shown = table(figures := asyncio.run(measure(given)))
    print(f"\n{shown}")
    records.save("retention", shown, measured_on, figures=figures)


if __name__ == "__main__":
    main()
