"""The texts of a workbook, which Excel stores once for all its cells: on disk, not in memory."""

import tempfile
from array import array
from collections.abc import Sequence
from typing import Any, BinaryIO, cast, overload


class SharedStrings(Sequence[str]):
    """Texts by their numbers, in a file that disappears when this does."""

    def __init__(self) -> None:
        self._file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  closed with it
        self._ends = array("Q", [0])

    def append(self, text: str) -> None:
        """Add a text. None may be read before the last one is added."""
        self._ends.append(self._ends[-1] + self._file.write(text.encode("utf-8", "surrogatepass")))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"the workbook has no text {index}")
        start, end = self._ends[index], self._ends[index + 1]
        self._file.seek(start)
        return self._file.read(end - start).decode("utf-8", "surrogatepass")


def opened_workbook(file: BinaryIO) -> Any:
    """A workbook, read row by row, with its texts on disk. Raises errors of many classes."""
    from openpyxl.cell.text import Text
    from openpyxl.reader.excel import ExcelReader
    from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS
    from openpyxl.xml.functions import iterparse

    parse: Any = iterparse
    text_of: Any = Text

    class Reader(ExcelReader):
        """openpyxl would hold all texts in a list, four bytes for a character where one is an
        emoji."""

        def read_strings(self) -> None:
            package: Any = self.package
            part = package.find(SHARED_STRINGS)
            if part is None:
                return
            strings = SharedStrings()
            with self.archive.open(part.PartName[1:]) as source:
                events = parse(source, events=("start", "end"))
                _, root = next(events)
                for event, node in events:
                    if event == "end" and node.tag == f"{{{SHEET_MAIN_NS}}}si":
                        strings.append(text_of.from_tree(node).content.replace("x005F_", ""))
                        root.clear()
            self.shared_strings = cast("Any", strings)

    reader: Any = Reader(file, read_only=True, data_only=True)
    reader.read()
    return reader.wb
