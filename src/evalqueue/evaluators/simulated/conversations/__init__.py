"""The bundled conversations, and the correct verdicts on them.

They are invented, and small enough to be read. `kaira.csv` covers every intent, verdict and rule of
the app `kaira-bot`, `kaira.gold.json` has the verdicts of a careful judge, and `sample.csv` is for
a first try. The demo, the simulated judge and the tests read the same files.
"""

from importlib.resources import files
from pathlib import Path


def kaira_csv() -> Path:
    """Conversations with the Kaira bot: one row per turn, eleven columns, oldest first."""
    return _bundled("kaira.csv")


def kaira_gold() -> Path:
    """The right answers for `kaira_csv`: evaluator → thread (→ turn) → fields of a judge answer."""
    return _bundled("kaira.gold.json")


def sample_csv() -> Path:
    """Five threads in the same format, without gold labels."""
    return _bundled("sample.csv")


def _bundled(name: str) -> Path:
    # Wheels are installed unpacked: a resource is a file, and a job can refer to it by its path.
    return Path(str(files(__name__) / name))
