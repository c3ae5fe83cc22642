"""The bundled conversations, copied to where jobs may read them."""

import csv
import shutil
from pathlib import Path

_SMALL = 5  # conversations of the file for a first try


def copy_conversations(directory: Path) -> None:
    """Copy the bundled conversations into a data directory, which is made if it is missing: all of
    them, and a few for a first try. Both have labels, so that the simulated judge knows them."""
    from evalqueue.evaluators.simulated.conversations import kaira_csv

    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kaira_csv(), directory / "kaira-conversations.csv")
    with kaira_csv().open(encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)
    place = heading.index("thread_id")
    first = list(dict.fromkeys(row[place] for row in rows))[:_SMALL]
    with (directory / "test.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([heading, *(row for row in rows if row[place] in first)])
