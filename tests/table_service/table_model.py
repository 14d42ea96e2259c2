"""What tables must do, in plain Python: what the machine in test_machine holds the service against."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc

Code = grpc.StatusCode
Values = dict[str, object]


class Refused(Exception):  # an outcome that is expected, not an error of the model
    """The service must answer one of `codes`, and nothing may have changed."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        super().__init__(str(codes))
        self.codes = codes


@dataclass(slots=True, kw_only=True)
class ModelColumn:
    """A column of int64 or of text."""

    name: str
    text: bool
    default: object = None
    not_null: bool = False


@dataclass(slots=True, kw_only=True)
class ModelRow:
    """The values of a row, by column."""

    version: int
    values: Values


@dataclass(slots=True, kw_only=True)
class ModelTable:
    """A table. `positive` are the columns with a check that they are not below zero."""

    id: str = ""
    columns: list[ModelColumn]
    keys: dict[str, tuple[str, ...]]
    positive: dict[str, str]
    rows: dict[int, ModelRow] = field(default_factory=dict)
    schema_version: int = 1
    greatest_id: int = 0
    grants: dict[str, set[str]] = field(default_factory=dict)

    def column(self, name: str) -> ModelColumn:
        """Return the column of that name."""
        return next(column for column in self.columns if column.name == name)

    def names(self) -> list[str]:
        """Return the names of the columns in order."""
        return [column.name for column in self.columns]

    def used(self) -> set[str]:
        """Return the columns that keys and checks use."""
        return {name for key in self.keys.values() for name in key} | set(self.positive.values())

    def whole(self, given: Mapping[str, object]) -> Values:
        """Return a new row's values: what is missing has its default."""
        return {c.name: given.get(c.name, c.default) for c in self.columns}

    def inserted(self, rows: Sequence[Mapping[str, object]]) -> list[Values]:
        """Return what an insert of the rows adds.

        Raises:
            Refused: If they break a rule.
        """
        new = [self.whole(row) for row in rows]
        self._check([*(row.values for row in self.rows.values()), *new], new)
        return new

    def insert(self, new: Sequence[Values], row_ids: Sequence[int]) -> None:
        """Take over what was inserted under ids that nobody has had."""
        assert len(set(row_ids)) == len(row_ids) == len(new)
        assert min(row_ids, default=self.greatest_id + 1) > self.greatest_id
        self.greatest_id = max([self.greatest_id, *row_ids])
        for row_id, values in zip(row_ids, new, strict=True):
            self.rows[row_id] = ModelRow(version=1, values=values)

    def upserted(
        self, key: str, rows: Sequence[Mapping[str, object]]
    ) -> tuple[dict[int, ModelRow], list[Values], list[int | None]]:
        """Return the rows that change, those that are new, and for each row in order the id it has."""
        names = self.keys[key]
        wanted = [tuple(row[name] for name in names) for row in rows]
        there = {tuple(row.values[n] for n in names): id_ for id_, row in self.rows.items()}
        if len(set(wanted)) < len(wanted):
            raise Refused(Code.ALREADY_EXISTS, Code.INVALID_ARGUMENT)
        ids = [there.get(one) for one in wanted]
        changed: dict[int, ModelRow] = {}
        for row_id, given in zip(ids, rows, strict=True):
            if row_id is not None:
                old = self.rows[row_id]
                changed[row_id] = ModelRow(
                    version=old.version + 1, values={**old.values, **dict(given)}
                )
        new = [self.whole(row) for row, id_ in zip(rows, ids, strict=True) if id_ is None]
        after = {id_: row.values for id_, row in {**self.rows, **changed}.items()}
        self._check([*after.values(), *new], [*(row.values for row in changed.values()), *new])
        return changed, new, ids

    def updated(self, column: str, value: object, changes: Values) -> dict[int, ModelRow]:
        """Return the rows that have the value, changed."""
        changed = {
            id_: ModelRow(version=row.version + 1, values={**row.values, **changes})
            for id_, row in self.rows.items()
            if row.values[column] == value and value is not None
        }
        after = {id_: row.values for id_, row in {**self.rows, **changed}.items()}
        self._check(list(after.values()), [row.values for row in changed.values()])
        return changed

    def check_values(self, changes: Values) -> None:
        """Refuse values that no row can have, whichever rows they are for."""
        if any(c.not_null and changes.get(c.name, 0) is None for c in self.columns):
            raise Refused(Code.INVALID_ARGUMENT)

    def having(self, column: str, value: object) -> list[int]:
        """Return the ids of the rows that have the value."""
        return [
            id_
            for id_, row in self.rows.items()
            if row.values[column] == value and value is not None
        ]

    def blocked_by_rows(self) -> bool:
        """Return whether rows stand against the schema, as after a change that was not checked."""
        values = [row.values for row in self.rows.values()]
        try:
            self._check(values, values)
        except Refused:
            return True
        return False

    def copied(self) -> ModelTable:
        """Return a copy that shares nothing."""
        return copy.deepcopy(self)

    def _check(self, everything: Sequence[Values], written: Sequence[Values]) -> None:
        codes: list[grpc.StatusCode] = []
        for values in written:
            nulls = any(c.not_null and values[c.name] is None for c in self.columns)
            below = any(
                isinstance(number := values[name], int) and number < 0
                for name in self.positive.values()
            )
            if nulls or below:
                codes.append(Code.INVALID_ARGUMENT)
        for key in self.keys.values():
            found = [tuple(values[name] for name in key) for values in everything]
            found = [one for one in found if None not in one]
            if len(set(found)) < len(found):
                codes.append(Code.ALREADY_EXISTS)
        if codes:
            raise Refused(*codes)
