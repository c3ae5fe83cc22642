"""How close programs come to the physical speed of evaluating: calls × latency ÷ concurrency.

`./run bench` runs it. All programs ask the same endpoint, which waits and answers; they take turns,
in rounds, so that a noisy machine is noisy for all of them. What is compared is within one round.
The figures go to `bench/results`.

    python bench/comparison [--rounds N] [--calls N] [--concurrency N …] [--peers-python PATH]
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import records  # noqa: E402
from batch import conversations, cpu_seconds  # noqa: E402
from processes import postgres, process, worker  # noqa: E402

from evalqueue import Client  # noqa: E402
from evalqueue.evaluators import EvaluateBatch  # noqa: E402

LATENCY_MS = 200.0
PORT = 18726
CALLS_PER_THREAD = 5.4
PEERS = ("openai", "aiohttp", "inspect-ai", "deepeval")
OURS = "evalqueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One program in one round."""

    program: str
    concurrency: int
    calls: int
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of its process, without the database and the endpoint."""

    @property
    def ratio(self) -> float:
        """Its wall time to the ideal one."""
        return self.wall / (self.calls * LATENCY_MS / 1000 / self.concurrency)


@asynccontextmanager
async def endpoint() -> AsyncGenerator[str]:
    """The endpoint in a process of its own; its address."""
    async with process(sys.executable, str(HERE / "endpoint.py"), str(PORT), str(LATENCY_MS)):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield f"http://127.0.0.1:{PORT}/v1"


async def ours(client: Client, pid: int, content: str, concurrency: int) -> Measurement:
    """A batch, from its start to its end: prompts, answers, scores and logs in the database."""
    params = EvaluateBatch(
        csv_content=content, concurrency=concurrency, llm_provider="openai", llm_model="model"
    )
    before = cpu_seconds(pid)
    job = await client.wait((await client.submit(params)).id)
    cpu = cpu_seconds(pid) - before
    assert job.result is not None, job.error_message
    assert job.started_at is not None
    assert job.completed_at is not None
    return Measurement(
        program=OURS, concurrency=concurrency, calls=job.result["llm_calls"],
        wall=(job.completed_at - job.started_at).total_seconds(), cpu=cpu,
    )  # fmt: skip


async def peer(name: str, python: str, url: str, calls: int, concurrency: int) -> Measurement:
    """Another program, which measures itself."""
    with tempfile.TemporaryDirectory(prefix="evalqueue-peer-") as folder:
        child = await asyncio.create_subprocess_exec(
            python, str(HERE / "peers.py"), name, url, str(calls), str(concurrency),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder,
            env=os.environ | {
                "PEER_LOGS": folder, "INSPECT_DISPLAY": "none", "DEEPEVAL_TELEMETRY_OPT_OUT": "YES",
            },
        )  # fmt: skip
        output, errors = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError(f"{name} failed:\n{errors.decode()[-1500:]}")
    return Measurement(program=name, concurrency=concurrency, **json.loads(output.splitlines()[-1]))


async def measure(given: argparse.Namespace) -> list[Measurement]:
    content = conversations(round(given.calls / CALLS_PER_THREAD))
    found: list[Measurement] = []
    async with postgres() as database, endpoint() as url:
        environment = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url}
        os.environ |= environment  # the submission checks that there is a key, too
        async with (
            worker(database, "--concurrency=2", **environment) as process,
            Client(database=database) as client,
        ):
            await ours(client, process.pid, conversations(10), 8)  # loads the SDK
            for number in range(given.rounds):
                for concurrency in given.concurrency:
                    mine = await ours(client, process.pid, content, concurrency)
                    others = [
                        await peer(name, given.peers_python, url, mine.calls, concurrency)
                        for name in given.peers
                    ]
                    found += [mine, *others]
                    for each in [mine, *others]:
                        print(
                            f"round {number + 1}  {concurrency:4} at a time  {each.program:12}"
                            f"{each.calls / each.wall:7.0f} calls/s  ratio {each.ratio:6.2f}"
                            f"  {1000 * each.cpu / each.calls:6.2f} ms CPU per call",
                            flush=True,
                        )
    return found


def table(found: list[Measurement]) -> str:
    """Medians over the rounds, and in brackets the lowest and the highest."""
    concurrencies = sorted({each.concurrency for each in found})
    programs = list(dict.fromkeys(each.program for each in found))
    lines = [
        "| at a time | " + " | ".join(programs) + " |",
        "|---|" + "---|" * len(programs),
    ]
    for concurrency in concurrencies:
        cells: list[str] = []
        for program in programs:
            rounds = [
                each for each in found if (each.program, each.concurrency) == (program, concurrency)
            ]
            ratios = [each.ratio for each in rounds]
            rate = statistics.median(each.calls / each.wall for each in rounds)
            cpu = statistics.median(1000 * each.cpu / each.calls for each in rounds)
            cells.append(
                f"{rate:.0f}/s, {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}), {cpu:.2f} ms"
            )
        lines.append(f"| {concurrency} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--peers-python", default=sys.executable)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    measured_on = records.machine()
    found = asyncio.run(measure(given))
    shown = table(found)
    print(f"\ncalls per second, wall time ÷ ideal (lowest to highest), CPU per call\n\n{shown}")
    records.save("evaluating", shown, measured_on, measurements=[asdict(each) for each in found])


if __name__ == "__main__":
    main()
