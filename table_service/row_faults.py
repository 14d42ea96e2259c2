"""What is wrong with rows that came: either the whole request is refused for it, or each row alone.

Pure. A row is known by its place among those sent, counted from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from chassis.faults import FieldViolation, InvalidArgument

VIOLATIONS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFault:
    """Why one row cannot be written: `reason` for programs, `message` for people.

    `column` is empty where no one column is at fault. `detail` is what `message` is about, for programs: the
    name of a check, or the values of a key.
    """

    index: int
    column: str
    reason: str
    message: str
    detail: str = ""


class RowFaults:
    """What is wrong so far, up to a bound.

    Where each row stands alone, the first fault of every bad row is kept, and further ones of the same
    rows up to `VIOLATIONS_MAX`; else `VIOLATIONS_MAX` in all.
    """

    def __init__(self, path: str, *, per_row: bool = False) -> None:
        self.path = path
        self.per_row = per_row
        self._found: dict[tuple[int, str], tuple[str, str]] = {}
        self._rows: set[int] = set()
        self._unreadable: set[int] = set()

    def wants(self, row: int) -> bool:
        """Return whether one more fault of that row would be kept."""
        if self.per_row and row not in self._rows:
            return True
        within = len(self._found) - (len(self._rows) if self.per_row else 0)
        return within < VIOLATIONS_MAX and row not in self._unreadable

    @property
    def full(self) -> bool:
        """Return whether no fault of any row would be kept."""
        return not self.per_row and len(self._found) >= VIOLATIONS_MAX

    @property
    def rows(self) -> frozenset[int]:
        """Return the rows that are bad."""
        return frozenset(self._rows)

    def add(self, field: str, row: int, column: str, why: object) -> None:
        """Keep a fault of a value, unless there are enough or this value has one."""
        if self.wants(row) and (row, column) not in self._found:
            self._found[row, column] = field, f"row {row}, column {column!r}: {why}"
            self._rows.add(row)

    def add_row(self, field: str, row: int, why: str) -> None:
        """Keep a fault of a whole row, whose values say nothing then."""
        if self.wants(row):
            self._found[row, ""] = field, f"row {row}: {why}"
            self._rows.add(row)
        self._unreadable.add(row)

    def refuse(self) -> None:
        """Refuse the request if anything is wrong and rows do not stand alone.

        Raises:
            InvalidArgument: ROW_INVALID with every fault that was kept.
        """
        if self.per_row or not self._found:
            return
        violations = tuple(
            FieldViolation(field=f"{self.path}.{field}", description=sentence, reason="ROW_INVALID")
            for field, sentence in self._found.values()
        )
        raise InvalidArgument("ROW_INVALID", violations[0].description, violations=violations)

    def by_row(self) -> tuple[RowFault, ...]:
        """Return the faults by row, those of one row in the order in which they were found."""
        return tuple(
            RowFault(index=row, column=column, reason="ROW_INVALID", message=sentence)
            for (row, column), (_, sentence) in sorted(
                self._found.items(), key=lambda item: item[0][0]
            )
        )
