"""What the table `goods` of `row_calls` should hold, in plain Python: the model of the rows' machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Values = Mapping[str, object]
COLUMNS = ("code", "price", "shelf", "place", "note")
DEFAULTS: Values = {"code": None, "price": 10, "shelf": None, "place": None, "note": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A row and its version."""

    version: int
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A row as it would be; `row_id` is None if it is new."""

    place: int
    row_id: int | None
    values: Values


@dataclass(slots=True)
class Goods:
    """The rows by id."""

    rows: dict[int, Stored] = field(default_factory=dict)

    def new(self, rows: Sequence[Values]) -> list[Staged]:
        """Return rows to insert."""
        return [
            Staged(place=at, row_id=None, values={**DEFAULTS, **row}) for at, row in enumerate(rows)
        ]

    def upserted(self, rows: Sequence[Values], key: Sequence[str]) -> list[Staged]:
        """Return rows to insert or update."""
        staged = []
        for at, row in enumerate(rows):
            wanted = [row[name] for name in key]
            found = [
                row_id
                for row_id, stored in self.rows.items()
                if None not in wanted and [stored.values[name] for name in key] == wanted
            ]
            if found:
                values = {**self.rows[found[0]].values, **row}
                staged.append(Staged(place=at, row_id=found[0], values=values))
            else:
                staged.append(Staged(place=at, row_id=None, values={**DEFAULTS, **row}))
        return staged

    def changed(self, row_ids: Sequence[int], values: Values) -> list[Staged]:
        """Return rows to update."""
        return [
            Staged(place=row_id, row_id=row_id, values={**self.rows[row_id].values, **values})
            for row_id in row_ids
        ]

    def faults(self, staged: Sequence[Staged]) -> dict[int, str]:
        """Return why rows cannot be written, by place; of rows with one key the first is good."""
        found = {one.place: why for one in staged if (why := _own_fault(one.values))}
        replaced = {one.row_id for one in staged}
        taken = {
            key
            for row_id, stored in self.rows.items()
            if row_id not in replaced
            for key in _keys(stored.values)
        }
        for one in staged:
            if one.place in found:
                continue
            if taken & _keys(one.values):
                found[one.place] = "DUPLICATE_KEY"
            else:
                taken |= _keys(one.values)
        return found

    def good(self, staged: Sequence[Staged]) -> tuple[list[Staged], dict[int, str]]:
        """Return the rows that can be written where each stands alone, and why the others cannot."""
        kept, faults = list(staged), dict[int, str]()
        while found := self.faults(kept):
            faults |= found
            kept = [one for one in kept if one.place not in found]
        return kept, faults

    def write(self, staged: Sequence[Staged], row_ids: Sequence[int]) -> None:
        """Take rows over under the ids that they got."""
        for one, row_id in zip(staged, row_ids, strict=True):
            assert one.row_id is None or one.row_id == row_id
            assert (one.row_id is None) == (row_id not in self.rows)
            version = self.rows[row_id].version + 1 if row_id in self.rows else 1
            self.rows[row_id] = Stored(version=version, values=one.values)


def has_twice(rows: Sequence[Values], key: Sequence[str]) -> bool:
    """Return whether two rows have one key."""
    keys = [tuple(row[name] for name in key) for row in rows]
    whole = [key for key in keys if None not in key]
    return len(set(whole)) < len(whole)


def _own_fault(values: Values) -> str:
    if values["code"] is None:
        return "ROW_INVALID"
    price, shelf = values["price"], values["shelf"]
    if (isinstance(price, int) and price >= 1000) or (isinstance(shelf, int) and shelf <= 0):
        return "CHECK_FAILED"
    return ""


def _keys(values: Values) -> set[tuple[object, ...]]:
    spot = (values["shelf"], values["place"])
    return {("code", values["code"])} | ({spot} if None not in spot else set())
