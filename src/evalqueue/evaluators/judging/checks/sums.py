"""The check of sums: the rows of a table add up to its total."""

import re
from collections.abc import Iterator

from evalqueue.evaluators.apps.checks import SumsCheck
from evalqueue.evaluators.judging.checks import arithmetic
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckSubject

_NUMBER = re.compile(r"[-+]?[0-9][0-9.,' ]{0,30}")
_DIGITS_MAX = 2  # after a single separator that can only be the decimal one


def sums(check: SumsCheck, subject: CheckSubject) -> CheckOutcome | None:
    """None: there is no such table, or one of its cells is no number."""
    found = list(_sums(check, subject.text))
    if not found:
        return None
    wrong = [
        (added, total)
        for added, total in found
        if abs(added - total)
        > max(check.tolerance, check.tolerance_share * abs(total)) + 1e-9 * abs(total)
    ]
    if wrong:
        notes = [f"The rows add up to {added:g}, not {total:g}" for added, total in wrong]
        return CheckOutcome(passed=False, note="; ".join(notes[:3]))
    return CheckOutcome(passed=True, note=f"{len(found)} added up")


def _sums(check: SumsCheck, text: str) -> Iterator[tuple[float, float]]:
    """The sum of the rows and the stated total, of each table."""
    for table in arithmetic.tables(text):
        place = next(
            (
                number
                for number, cell in enumerate(table.header)
                if check.column.casefold() in cell.casefold()
            ),
            None,
        )
        if place is None:
            continue
        rows = [row for row in table.rows if any(row)]
        totals = [row for row in rows if row[0].casefold().startswith(check.total.casefold())]
        numbers = [_number(row[place]) if place < len(row) else None for row in rows]
        if len(totals) != 1 or len(rows) == 1 or None in numbers:
            continue
        total = numbers[rows.index(totals[0])]
        known = [number for number in numbers if number is not None]
        if total is not None:
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
