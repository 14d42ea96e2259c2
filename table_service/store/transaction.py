"""One open transaction, as those who change the store see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import duckdb
import pyarrow as pa

from table_service.store.database import CATALOG
from table_service.store.errors import BREAKING
from table_service.store.row_ids import LARGEST
from table_service.tables import Catalog, Table, TableState, table_changed, table_not_found
from table_service.types import quoted

# A view is bound anew for each batch; what is kept is only the name of a view. So many last.
_VIEWS_MAX = 256
_STATEMENTS_MAX = 1_000


# Of a counter by its key: how many numbers, and the largest that there may be; returns the first.
TakeIds = Callable[[str, int, int], int]


def physical(table: Table) -> str:
    """Return the SQL name of the table's rows."""
    return f"{CATALOG}.{table.namespace}.{quoted(table.storage)}"


def dataset_relation(dataset_id: str) -> str:
    """Return the SQL name of a dataset's rows."""
    return f"{CATALOG}.datasets.{quoted(dataset_id)}"


class _Shown:
    """What a registered view reads: the Arrow rows that stand here when a statement runs."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self.rows.schema.__arrow_c_schema__()


class Batches:
    """Arrow rows made readable to the statements of one cursor.

    Registering a view costs as much as inserting a row, so one is kept for each schema and its rows are
    exchanged. A view made in a transaction goes with it when it is rolled back.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._views: dict[object, tuple[str, _Shown]] = {}
        self._made: list[object] = []
        self._shown: list[_Shown] = []
        self._count = 0

    def show(self, rows: pa.Table) -> str:
        """Return the name under which the next statement can read `rows`."""
        key = (tuple(rows.schema.names), tuple(rows.schema.types))
        if key not in self._views:
            self._count += 1
            name, shown = f"batch_{self._count}", _Shown(rows)
            self._cursor.register(name, shown)
            self._views[key] = (name, shown)
            self._made.append(key)
        name, shown = self._views[key]
        shown.rows = rows
        self._shown.append(shown)
        return name

    def end(self, *, committed: bool) -> None:
        """Let go of the rows, after the transaction."""
        if not committed:
            for key in self._made:
                self._views.pop(key, None)
        self._made.clear()
        for shown in self._shown:
            shown.rows = shown.rows.slice(0, 0)
        self._shown.clear()
        # Not before: a statement may name several.
        if len(self._views) > _VIEWS_MAX:
            self.drop()

    def drop(self) -> None:
        """Let go of the views too."""
        for name, _ in self._views.values():
            self._cursor.unregister(name)
        self._views.clear()


class ParsedStatements:
    """The statements of one cursor, each parsed once: parsing costs a third of a small statement."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._parsed: dict[str, duckdb.Statement] = {}

    def run(self, sql: str, parameters: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        """Run one statement and return the cursor, which has its rows."""
        statement = self._parsed.get(sql)
        if statement is None:
            [statement] = self._cursor.extract_statements(sql)
            if len(self._parsed) >= _STATEMENTS_MAX:
                self._parsed.clear()
            self._parsed[sql] = statement
        return self._cursor.execute(statement, list(parameters))


class Transaction:
    """A transaction between its BEGIN and its COMMIT, on one thread.

    `catalog` is as of this transaction: what it creates or deletes is in it at once, and in everybody's
    after the commit. `now` is the moment it began. One that is `careful` comes after DuckDB refused what a
    write did: whoever writes rows looks at them first and says all that is wrong.
    """

    def __init__(
        self,
        *,
        cursor: duckdb.DuckDBPyConnection,
        statements: ParsedStatements,
        batches: Batches,
        catalog: Catalog,
        take_ids: TakeIds,
        now: datetime,
        careful: bool = False,
    ) -> None:
        self.cursor = cursor
        self.catalog = catalog
        self.now = now
        self.careful = careful
        self._statements = statements
        self._batches = batches
        self._take_ids = take_ids
        self.after_commit: list[Callable[[], None]] = []

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run a statement and return its rows. For timestamps with a zone use Arrow instead."""
        rows: list[tuple[object, ...]] = self._statements.run(sql, parameters).fetchall()
        return rows

    def changed(self, sql: str) -> int:
        """Run an INSERT, UPDATE or DELETE and return how many rows it changed."""
        [[count]] = self._statements.run(sql).fetchall()
        return int(count)

    def show(self, rows: pa.Table) -> str:
        """Return the name under which the next statement of this transaction can read `rows`."""
        return self._batches.show(rows)

    def take_row_ids(self, table: Table, count: int) -> int:
        """Return the first of `count` consecutive row ids, never given before."""
        return self._take_ids(table.id, count, LARGEST)

    def take_ids(self, key: str, count: int, largest: int = LARGEST) -> int:
        """Return the first of `count` consecutive numbers of a counter, never given before, from 1 on.

        Any key has a counter, which exists from its first use; "tbl_x/7" is that of a column's sequence.

        Raises:
            InvalidArgument: ROW_INVALID if they went past `largest`; none is taken then.
        """
        return self._take_ids(key, count, largest)

    def current(self, table: Table) -> Table:
        """Return the table as this transaction sees it, for what was resolved before it began.

        Raises:
            NotFound: TABLE_NOT_FOUND if the table was deleted meanwhile.
            Aborted: TABLE_CHANGED if its schema changed; whoever resolved it does so again
                (`fresh_tables`).
        """
        found = self.catalog.by_id.get(table.id)
        if found is None or found.state is not TableState.ACTIVE:
            raise table_not_found(table.full_name)
        if found.schema_version != table.schema_version:
            raise table_changed(found)
        return found


def roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    """End a transaction that failed; the error that led here is the one to be raised."""
    # Ends when it is done: the watch may interrupt it, as what it stops, and does so again and again.
    while True:
        try:
            cursor.execute("ROLLBACK")
        except duckdb.InterruptException:
            continue
        except (duckdb.TransactionException, *BREAKING):
            # A commit that failed has ended its transaction already; a broken store has none.
            return
        return
