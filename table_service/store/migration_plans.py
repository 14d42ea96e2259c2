"""Plans of migrations: how each operation would be carried out, what is lost, which rows are in the way.

A plan is made by reading alone. It holds for the rows that the transaction sees in which it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import duckdb

from chassis.faults import FailedPrecondition, FieldViolation
from table_service.schema_changes import Applied, Changes, Columns, Conditions
from table_service.schema_operations import AddColumn, DropColumn, RetypeColumn
from table_service.schema_requirements import (
    Holds,
    Method,
    NoDuplicates,
    NoNull,
    Requirement,
    methods_of,
    requirements,
)
from table_service.store.conditions import (
    check_cast,
    check_condition,
    check_value,
    columns_used,
    constraint,
    with_renamed,
)
from table_service.store.defaults import counter
from table_service.store.migration_stages import Stages, Value, attempt, made, made_from, stages
from table_service.tables import Table
from table_service.types import (
    INTEGER_BITS,
    ROW_ID,
    Column,
    DefaultFunction,
    Kind,
    Type,
    quoted,
    sql_text,
    sql_type,
    type_from_sql,
)

SAMPLES_MAX = 10
VALUE_CHARACTERS_MAX = 100
# Texts of these can be spelt in several ways that mean the same.
_SPELT_FREELY = frozenset(
    {
        *(Kind.BOOL, Kind.UUID, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP, Kind.INTERVAL),
        *(Kind.JSON, Kind.ENUM),
    }
)
_MOMENTS = frozenset({Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP})
# What a moment's text says beyond microseconds is cut off.
_TOO_PRECISE = "'[.][0-9]{6}[0-9]*[1-9]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row that stands against an operation; `value` as text that may be cut."""

    row_id: int
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Rows that stand against an operation, counted from 0; `lossy` if only for what would be lost."""

    operation: int
    description: str
    row_count: int
    samples: tuple[Sample, ...] = ()
    lossy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happens for one operation; `loss` is what cannot be brought back, empty for nothing."""

    method: Method
    description: str
    loss: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a migration does: one step an operation; nothing, while there are obstacles."""

    changes: Changes
    steps: tuple[Step, ...]
    obstacles: tuple[Obstacle, ...]
    row_count: int


def conditions(cursor: duckdb.DuckDBPyConnection) -> Conditions:
    """Return how schema changes read expressions."""

    def value(
        column: Column, operation: RetypeColumn, columns: Columns, path: str
    ) -> frozenset[str]:
        written, used = sql_type(column.type), frozenset[str]()
        if operation.using:
            made, written = check_value(cursor, operation.using, columns, f"{path}.using")
            used = made.columns
        check_cast(cursor, written, operation.type, f"{path}.type")
        return used

    def condition(written: str, columns: Columns, path: str) -> frozenset[str]:
        return check_condition(cursor, written, columns, path).columns

    return Conditions(
        used=partial(columns_used, cursor),
        renamed=partial(with_renamed, cursor),
        condition=condition,
        value=value,
    )


def make_plan(
    cursor: duckdb.DuckDBPyConnection,
    table: Table,
    changes: Changes,
    now: datetime,
    *,
    counted: Callable[[str], int],
    allow_loss: bool = False,
    keeps_values: bool = False,
) -> Plan:
    """Return the plan of carrying out changes on a table.

    `counted` gives the last number that a counter has given. `allow_loss`: values may be changed by
    casts. `keeps_values`: nothing may be lost at all, whatever the operations say.
    """
    planner = _Planner(cursor, table, changes, now)
    steps: list[Step] = []
    obstacles: list[Obstacle] = []
    methods = methods_of(changes.applied)
    for index, (applied, method) in enumerate(zip(changes.applied, methods, strict=True)):
        loss = ""
        match applied.operation:
            case AddColumn():
                obstacles += planner.too_many_for_sequence(index, applied, counted)
            case DropColumn():
                dropped = planner.dropped(index, applied.operation)
                loss = dropped.description if dropped else ""
                if dropped and keeps_values:
                    description = f"{dropped.description} would be lost"
                    obstacles.append(replace(dropped, description=description))
            case RetypeColumn() if index in planner.stages.values:
                failing, changing = planner.retyped(index, applied.operation)
                obstacles += [failing] if failing else []
                loss = changing.description if changing else ""
                obstacles += [changing] if changing and not allow_loss else []
                if applied.operation.using and planner.row_count:
                    loss = f"what column {applied.operation.column!r} held before"
            case _:
                pass
        steps.append(Step(method=method, description=applied.sentence, loss=loss))
    told = {obstacle.operation for obstacle in obstacles if not obstacle.lossy}
    for requirement in requirements(changes, partial(columns_used, cursor)):
        if requirement.operation not in told:
            obstacles += planner.broken(requirement)
    return Plan(
        changes=changes,
        steps=tuple(steps),
        obstacles=tuple(sorted(obstacles, key=lambda obstacle: obstacle.operation)),
        row_count=planner.row_count,
    )


def refuse_obstacles(plan: Plan) -> None:
    """Refuse a migration that rows stand against.

    Raises:
        FailedPrecondition: MIGRATION_BLOCKED, or MIGRATION_LOSSY if only loss stands against it.
    """
    if not plan.obstacles:
        return
    first = next((found for found in plan.obstacles if not found.lossy), plan.obstacles[0])
    raise FailedPrecondition(
        "MIGRATION_LOSSY" if first.lossy else "MIGRATION_BLOCKED",
        f"operation {first.operation}: {first.description}",
        violations=tuple(
            FieldViolation(
                field=f"operations[{obstacle.operation}]",
                description=_with_samples(obstacle),
                reason="MIGRATION_LOSSY" if obstacle.lossy else "MIGRATION_BLOCKED",
            )
            for obstacle in plan.obstacles
        ),
        operation=first.operation,
        row_count=first.row_count,
    )


class _Planner:
    """Asks the rows, on one cursor within one transaction."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        table: Table,
        changes: Changes,
        now: datetime,
    ) -> None:
        self._cursor = cursor
        self._table = table
        self._changes = changes
        self.stages: Stages = stages(
            cursor, table, changes, now, first_of=lambda _: 1, strict=False
        )
        self.row_count = self._number(f"SELECT count(*) FROM {self.stages.relations[0]}")

    def too_many_for_sequence(
        self, index: int, applied: Applied, counted: Callable[[str], int]
    ) -> Iterator[Obstacle]:
        """Yield an obstacle if a new column holds fewer numbers than there are rows.

        One that was there before goes on after the numbers that it gave then.
        """
        assert isinstance(applied.operation, AddColumn)
        column = applied.after.column(applied.operation.column.name)
        assert column is not None
        if column.default and column.default.function is DefaultFunction.SEQUENCE:
            largest = (1 << (INTEGER_BITS[column.type.kind] - 1)) - 1
            given = counted(counter(self._table, column))
            if given + self.row_count > largest:
                gone = f" and has given {given} numbers" if given else ""
                rows, name = f"{self.row_count} rows", column.name
                yield Obstacle(
                    operation=index,
                    description=f"{rows}, but column {name!r} counts to {largest}{gone}",
                    row_count=min(self.row_count, given + self.row_count - largest),
                )

    def dropped(self, index: int, operation: DropColumn) -> Obstacle | None:
        """Return what goes with a column."""
        name = quoted(operation.column)
        return self._obstacle(
            index,
            f"SELECT {ROW_ID}, {name} AS shown FROM {self.stages.relations[index]}"
            f" WHERE {name} IS NOT NULL",
            lambda count: f"{_values(count)} of column {operation.column!r}",
            lossy=True,
        )

    def retyped(
        self, index: int, operation: RetypeColumn
    ) -> tuple[Obstacle | None, Obstacle | None]:
        """Return the rows whose values cannot be converted, and those whose values would be others then."""
        value, name, target = self.stages.values[index], quoted(operation.column), operation.type
        tried = (
            f"(SELECT {ROW_ID}, {name} AS shown, {attempt(value, sql_type(target))} AS tried"
            f" FROM {self.stages.relations[index]})"
        )
        changes = _changes("tried", value, target)
        failing = self._obstacle(
            index,
            f"SELECT {ROW_ID}, shown FROM {tried} WHERE tried IS NULL",
            lambda count: (
                f"{_values(count)} of column {operation.column!r} cannot become {target.kind}"
            ),
        )
        becomes = f"CAST(shown AS VARCHAR) || ' becomes ' || CAST({made('tried')} AS VARCHAR)"
        changing = self._obstacle(
            index,
            f"SELECT {ROW_ID}, coalesce({becomes}, CAST(shown AS VARCHAR)) AS shown FROM {tried}"
            f" WHERE tried IS NOT NULL AND {changes}",
            lambda count: f"{_values(count)} of column {operation.column!r} would change",
            lossy=True,
        )
        return failing, changing

    def broken(self, requirement: Requirement) -> list[Obstacle]:
        """Return the rows that do not satisfy a requirement once everything has been done."""
        rows = self.stages.relations[-1]
        match requirement:
            case NoNull(operation=index, column=column):
                name = column.name
                found = self._obstacle(
                    index,
                    f"SELECT {ROW_ID}, NULL AS shown FROM {rows} WHERE {quoted(name)} IS NULL",
                    lambda count: f"{_rows(count)} null in column {name!r}, which refuses it",
                )
            case NoDuplicates(operation=index, key=key):
                shared, count = _duplicates(rows, key.columns)
                listed = ", ".join(key.columns)
                found = self._obstacle(
                    index,
                    shared,
                    lambda number: f"{_rows(number)} the same {listed} as another",
                    counted=count,
                )
            case Holds(operation=index, check=check):
                after = self._changes.after
                condition = constraint(self._cursor, check.expression, after.columns)
                shown = _shown(after.ordered(condition.columns))
                found = self._obstacle(
                    index,
                    f"SELECT {ROW_ID}, {shown} AS shown FROM {rows}"
                    f" WHERE TRY(coalesce({condition.sql}, true)) IS NOT TRUE",
                    lambda count: (
                        f"{count} row{'s break' if count > 1 else ' breaks'} check"
                        f" {check.name!r}: {check.expression}"
                    ),
                )
        return [found] if found else []

    def _obstacle(
        self,
        index: int,
        rows: str,
        describe: Callable[[int], str],
        *,
        counted: str = "",
        lossy: bool = False,
    ) -> Obstacle | None:
        """Return an obstacle of the rows that SQL selects, as row ids and `shown`; None if there are none."""
        count = self._number(counted or f"SELECT count(*) FROM ({rows})")
        if count == 0:
            return None
        samples = self._cursor.execute(
            f"SELECT {ROW_ID}, coalesce(CAST(shown AS VARCHAR), 'null') FROM ({rows})"
            f" ORDER BY {ROW_ID} LIMIT {SAMPLES_MAX}"
        ).fetchall()
        return Obstacle(
            operation=index,
            description=describe(count),
            row_count=count,
            samples=tuple(Sample(row_id=row_id, value=_cut(text)) for row_id, text in samples),
            lossy=lossy,
        )

    def _number(self, sql: str) -> int:
        [[number]] = self._cursor.execute(sql).fetchall()
        return int(number)


def _changes(tried: str, value: Value, target: Type) -> str:
    """Return SQL that is true where what an attempt made does not say what it was made of."""
    source, was = type_from_sql(value.written), made_from(tried)
    if source.kind is Kind.STRING and target.kind in _SPELT_FREELY:
        return f"regexp_matches({was}, {_TOO_PRECISE})" if target.kind in _MOMENTS else "false"
    return f"TRY_CAST({made(tried)} AS {value.written}) IS DISTINCT FROM {was}"


def _duplicates(rows: str, columns: Sequence[str]) -> tuple[str, str]:
    """Return SQL of the rows that share the values of some columns, and of how many they are."""
    names = ", ".join(map(quoted, columns))
    whole = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in columns)
    shared = (
        f"SELECT {ROW_ID}, shown FROM (SELECT {ROW_ID}, {_shown(columns)} AS shown,"
        f" count(*) OVER (PARTITION BY {names}) AS sharing FROM {rows} WHERE {whole})"
        " WHERE sharing > 1"
    )
    # A window keeps every row; this is asked first, and mostly answers 0.
    count = (
        "SELECT coalesce(sum(sharing), 0) FROM"
        f" (SELECT count(*) AS sharing FROM {rows} WHERE {whole} GROUP BY {names}"
        " HAVING count(*) > 1)"
    )
    return shared, count


def _shown(columns: Sequence[str]) -> str:
    """Return SQL of the values of columns as one text."""
    if not columns:
        return "NULL"
    named = (
        f"{sql_text(name)} || ': ' || coalesce(CAST({quoted(name)} AS VARCHAR), 'null')"
        for name in columns
    )
    return " || ', ' || ".join(named)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"


def _with_samples(obstacle: Obstacle) -> str:
    samples = "; ".join(f"row {sample.row_id}: {sample.value}" for sample in obstacle.samples)
    return f"{obstacle.description} ({samples})" if samples else obstacle.description


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count} rows have"
