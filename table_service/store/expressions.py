"""Expressions of callers over the columns of one row: checked once, remembered, bound and run.

Filters, new values and checks all come this way: parsed by DuckDB, looked through by the sandbox, and
written back in parentheses from what was looked at. The text as it came never reaches a statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import duckdb

from chassis.faults import FieldViolation, InvalidArgument
from table_service import sandbox
from table_service.serialized_sql import fold
from table_service.store.errors import breaks, read_fault
from table_service.store.statements import as_sql, bound, serialised
from table_service.tables import Table
from table_service.types import SYSTEM_COLUMNS

_REMEMBERED_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A checked expression as SQL, in parentheses; what it names. Case means nothing in parameters."""

    sql: str
    parameters: frozenset[str]
    columns: frozenset[str]


TRUE = Expression(sql="(true)", parameters=frozenset(), columns=frozenset())


class Expressions:
    """Checks expressions and remembers them. Threads may share it; each brings its cursor."""

    def __init__(self) -> None:
        self._checked = lru_cache(_REMEMBERED_MAX)(_unchecked)

    def check(
        self, cursor: duckdb.DuckDBPyConnection, written: str, table: Table, path: str
    ) -> Expression:
        """Return an expression over the table's columns and the server's two.

        Raises:
            InvalidArgument: SQL_INVALID or SQL_REFUSED, with `path` as the field.
        """
        names = tuple(column.name for column in (*SYSTEM_COLUMNS, *table.columns))
        entry = self._checked(written, names)
        if not entry:
            with blamed(path):
                entry.append(_check(cursor, written, names))
        return entry[0]


def values_of(
    expressions: Iterable[Expression], given: Mapping[str, object], path: str = "parameters"
) -> dict[str, object]:
    """Return what to bind to the parameters that the expressions name; others that are given do not count.

    Raises:
        InvalidArgument: SQL_INVALID if one has no value.
    """
    folded = {fold(name): value for name, value in given.items()}
    named = {name for expression in expressions for name in expression.parameters}
    for name in sorted(named - folded.keys()):
        sentence = f"the expression's ${name} has no value"
        violation = FieldViolation(field=path, description=sentence, reason="SQL_INVALID")
        raise InvalidArgument("SQL_INVALID", sentence, violations=(violation,), parameter=name)
    return bound({name: folded[name] for name in sorted(named)})


@contextmanager
def blamed(path: str) -> Iterator[None]:
    """Name the field that a fault in the block is about."""
    try:
        yield
    except InvalidArgument as fault:
        violation = FieldViolation(field=path, description=fault.message, reason=fault.reason)
        fault.violations = fault.violations or (violation,)
        raise


@contextmanager
def expressions_told() -> Iterator[None]:
    """Turn what DuckDB says of a caller's expression in a write into a fault; the rest is the writer's.

    Raises:
        InvalidArgument: SQL_INVALID or QUERY_FAILED.
    """
    try:
        yield
    except (duckdb.ConstraintException, duckdb.TransactionException, duckdb.InterruptException):
        raise
    except duckdb.Error as error:
        fault = None if breaks(error) else read_fault(error)
        if fault is None:
            raise
        raise fault from error


def _unchecked(written: str, columns: tuple[str, ...]) -> list[Expression]:
    """Return the place for an expression's checked form, which an error leaves empty."""
    return []


def _check(cursor: duckdb.DuckDBPyConnection, written: str, columns: tuple[str, ...]) -> Expression:
    serialized = serialised(cursor, sandbox.expression_statement(written))
    tree = sandbox.parse(serialized)
    used = sandbox.check_expression(tree, columns)
    return Expression(
        sql=sandbox.expression_sql(as_sql(cursor, serialized)),
        parameters=frozenset(map(fold, sandbox.parameters(tree))),
        columns=frozenset(used),
    )
