"""What benchmarks measured, as files in `bench/results`: JSON with the machine, and a table."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("evalqueue", "openai", "aiohttp", "procrastinate", "psycopg")


def machine() -> dict[str, object]:
    """When and where something is measured, and with what; the load of one minute."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def save(name: str, table: str, measured_on: Mapping[str, object], **figures: object) -> None:
    """Write `NAME.json` and `NAME.md`."""
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": measured_on, **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    when, cores, load = (measured_on[each] for each in ("when", "cores", "load"))
    (RESULTS / f"{name}.md").write_text(
        f"# {name.capitalize()}\n\n"
        f"Measured {when} on {cores} cores, load at its start {load:.1f}.\n\n{table}\n"
    )
