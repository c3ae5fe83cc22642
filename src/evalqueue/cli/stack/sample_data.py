"""The bundled conversations, copied to where jobs may read them."""

import shutil
from pathlib import Path


def copy_conversations(directory: Path) -> None:
    """Copy the bundled conversations into a data directory, which is made if it is missing."""
    from evalqueue.evaluators.simulated.conversations import kaira_csv, sample_csv

    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kaira_csv(), directory / "kaira-conversations.csv")
    shutil.copyfile(sample_csv(), directory / "test.csv")
