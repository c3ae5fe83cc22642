"""Reads metrics as Prometheus does: over HTTP, in its text format."""

import asyncio
import re
import socket
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
Figures = dict[tuple[str, Labels], float]

_ADDRESS = re.compile(r"Metrics on (http://\S+)")
PATIENCE = 60.0  # seconds


def parsed(text: str) -> Figures:
    """All samples, by their name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(url: str, token: str | None = None) -> Figures:
    """The samples of one endpoint."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        reply = await http.get(url, headers=headers)
    reply.raise_for_status()
    return parsed(reply.text)


def summed(scrapes: Iterable[Figures], name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """A metric over several endpoints, by the values of some labels."""
    total: Counter[tuple[str, ...]] = Counter()
    for figures in scrapes:
        for (sample, of), value in figures.items():
            if sample == name:
                total[tuple(dict(of)[label] for label in labels)] += value
    return total


def value(figures: Figures, name: str, **labels: str) -> float | None:
    """One sample. None: there is none."""
    return figures.get((name, tuple(sorted(labels.items()))))


async def address_in(log: Path) -> str:
    """Where a worker serves its metrics, once its log says so."""
    async with asyncio.timeout(PATIENCE):
        while (found := _ADDRESS.search(log.read_text("utf-8"))) is None:
            await asyncio.sleep(0.02)
    return found[1]


def free_ports(count: int) -> list[int]:
    """So many ports in a row that are free."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
        ports = [*range(port, port + count)]
        try:
            for each in ports:
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return ports
