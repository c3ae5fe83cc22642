"""The check of sums: the rows of a table add up to its total."""

import re
from collections.abc import Iterator

from evalqueue.evaluators.apps.checks import SumsCheck
from evalqueue.evaluators.judging.checks import arithmetic
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject

_NUMBER = re.compile(r"[-+]?[0-9][0-9.,' ]{0,30}")
_DIGITS_MAX = 2  # after a single separator that can only be the decimal one


def sums(check: SumsCheck, subject: CheckSubject) -> CheckOutcome:
    found = list(_sums(check, subject.text))
    if not found:
        return CheckOutcome.not_applicable(
            f"there is no table with a column {check.column!r} and a row {check.total!r}"
        )
    known = [each for each in found if each is not None]
    wrong = [
        (added, total)
        for added, total in known
        if abs(added - total)
        > max(check.tolerance, check.tolerance_share * abs(total)) + 1e-9 * abs(total)
    ]
    if wrong:
        notes = [f"The rows add up to {added:g}, not {total:g}" for added, total in wrong]
        return CheckOutcome.of(False, "; ".join(notes[:3]))
    if len(known) < len(found):
        return CheckOutcome.not_measured(
            f"a table has several rows {check.total!r}, or a cell that is not one number"
        )
    return CheckOutcome.of(True, f"{len(found)} added up")


def _sums(check: SumsCheck, text: str) -> Iterator[tuple[float, float] | None]:
    """The sum of the rows and the stated total, of each table. None: it can't be computed."""
    for table in arithmetic.tables(text):
        place = next(
            (
                number
                for number, cell in enumerate(table.header)
                if check.column.casefold() in cell.casefold()
            ),
            None,
        )
        rows = [row for row in table.rows if any(row)]
        totals = [row for row in rows if row[0].casefold().startswith(check.total.casefold())]
        if place is None or not totals or len(rows) == 1:
            continue
        numbers = [_number(row[place]) if place < len(row) else None for row in rows]
        known = [number for number in numbers if number is not None]
        total = numbers[rows.index(totals[0])]
        if len(totals) > 1 or total is None or len(known) < len(numbers):
            yield None
        else:
            yield round(sum(known) - total, 9), total


def _number(cell: str) -> float | None:
    """The one number in a cell, with a point or a comma for decimals. None: there is not one."""
    found = _NUMBER.findall(cell)
    if len(found) != 1:
        return None
    text = re.sub(r"[' ]", "", found[0]).rstrip(".,")
    separators = re.findall(r"[.,]", text)
    if len(set(separators)) > 1:  # the last one separates the decimals
        decimal = separators[-1]
        text = text.replace("," if decimal == "." else ".", "").replace(decimal, ".")
    elif len(separators) > 1:
        text = re.sub(r"[.,]", "", text)
    elif separators and (len(text) - text.index(separators[0]) - 1 <= _DIGITS_MAX or "." in text):
        text = text.replace(",", ".")
    else:
        text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        return None
