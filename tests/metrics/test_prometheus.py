"""The rules in promtool, and the product scraped by a real Prometheus."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from scraping import PATIENCE, free_ports

from evalqueue import Client, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer
from evalqueue.tokens import Right, Token, digest_of

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"
TOKEN = "of-prometheus"
ENTRY = Token(name="prometheus", right=Right.READ, digest=digest_of(TOKEN.encode())).entry
AGREES = """
    SELECT (SELECT count(*) FROM api_logs), (SELECT count(*) FROM scores),
        (SELECT count(*) FROM job_attempts)"""


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_sound():
    assert "SUCCESS: 16 rules found" in promtool("check", "rules", "evalqueue.rules.yml")


def test_the_alerts_fire_when_they_should_and_only_then():
    assert "SUCCESS" in promtool("test", "rules", "evalqueue.test.yml")


def test_the_configuration_is_sound(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    text = (FOLDER / "prometheus.yml").read_text("utf-8")
    config = tmp_path / "prometheus.yml"
    config.write_text(
        text.replace("/etc/prometheus/evalqueue-token", str(token)).replace(
            "- evalqueue.rules.yml", f"- {FOLDER}/evalqueue.rules.yml"
        )
    )
    assert "SUCCESS" in promtool("check", "config", str(config))


@asynccontextmanager
async def running(*command: str, **environment: str) -> AsyncGenerator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def prometheus(api: str, workers: list[int], folder: Path) -> AsyncGenerator[Any]:
    """A Prometheus that scrapes every second, by the shipped configuration otherwise."""
    (folder / "token").write_text(TOKEN)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "evalqueue.rules.yml")]
    of_api, of_workers = config["scrape_configs"]
    of_api["authorization"]["credentials_file"] = str(folder / "token")
    of_api["static_configs"] = [{"targets": [api]}]
    of_workers["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in workers]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    async with (
        running(
            "prometheus", f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
        ),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):  # fmt: skip
        yield http


async def ask(http: httpx.AsyncClient, expression: str) -> dict[str, float]:
    """Prometheus's answer: values by labels, as JSON."""
    try:
        reply = await http.get("/api/v1/query", params={"query": expression})
        result = reply.json()["data"]["result"]
    except (httpx.TransportError, json.JSONDecodeError, KeyError):
        return {}  # it is starting
    return {json.dumps(each["metric"]): float(each["value"][1]) for each in result}


async def until(http: httpx.AsyncClient, expression: str, expected: dict[str, float]) -> None:
    found: dict[str, float] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while (found := await ask(http, expression)) != expected:
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{expression}: {found}, not {expected}") from None


async def test_a_real_prometheus_scrapes_the_api_and_two_worker_processes(
    dsn: str, database: Database, tmp_path: Path, monkeypatch: Any
):
    async with SimulatedServer(Behaviour(latency_ms=10, rate_malformed=0.1)) as vendor:
        monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
        monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
        monkeypatch.setenv("EVALQUEUE_API_TOKENS", ENTRY)
        ports = free_ports(2)

        async with (
            Client(dsn, settings=Settings()) as client,
            serve(client, port=0) as address,
            running(
                sys.executable, "-m", "evalqueue", "worker", "--processes=2",
                f"--metrics-port={ports[0]}", DATABASE_URL=dsn,
            ),
            prometheus(address.url.removeprefix("http://"), ports, tmp_path) as http,
        ):  # fmt: skip
            await until(http, "sum(up)", {"{}": 3})
            await until(http, "max(evalqueue_workers)", {"{}": 2})
            jobs = [await client.submit(EvaluateBatch(total_items=24, concurrency=8)) for _ in "ab"]
            for job in jobs:
                await client.wait(job.id, timeout=PATIENCE)
            async with database.connection() as connection:
                cursor = await connection.execute(AGREES.encode())
                ((calls, scores, attempts),) = await cursor.fetchall()
            await until(http, "sum(evalqueue_llm_calls_total)", {"{}": calls})
            await until(http, "sum(evalqueue_scores_total)", {"{}": scores})
            await until(http, "sum(evalqueue_attempts_total)", {"{}": attempts})
            await until(http, "sum(evalqueue_is_leader)", {"{}": 1})
            await until(http, "count(evalqueue_notifications_connected == 1)", {"{}": 3})
            scored = await ask(http, "evalqueue:verdicts_scored:ratio_increase30m")
            firing = await ask(http, 'ALERTS{alertstate="firing"}')
    assert scores > 0
    assert scored, "a recorded series"
    assert firing == {}
