"""The formats in which results leave evalqueue."""

from enum import StrEnum, auto


class ExportFormat(StrEnum):
    """What the results of a run are exported as."""

    CSV = auto()
    """A conversation in each row, for a spreadsheet."""
    JSONL = auto()
    """A conversation on each line, with every score, also of turns."""
    PARQUET = auto()
    """The columns of the CSV with their types, and every score."""
    LANGFUSE = auto()
    """A score on each line, as an event of Langfuse's ingestion API."""
    INSPECT = auto()
    """A log of Inspect AI, with the messages."""
