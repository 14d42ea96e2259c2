"""What keeps rows from being written, said precisely: found in a stage of whole rows as they would be.

DuckDB names one violation and gives the transaction up. So whoever wants to know stages the rows first
(`staging`) and asks here, before anything is written. That costs several statements: only a write that has
failed, or whose rows stand alone, pays for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chassis.faults import AlreadyExists, Fault, FieldViolation, InvalidArgument
from table_service.row_faults import VIOLATIONS_MAX, RowFault
from table_service.store.conditions import constraint
from table_service.store.transaction import Transaction, physical
from table_service.tables import Check, Table, UniqueKey
from table_service.types import ROW_ID, quoted

# The stage: the table's columns, the server's two, and which row of the request each row is (`__at`).
STAGE = "temp.staged_rows"
AT = "__at"
_SHOWN_CHARACTERS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clash:
    """A row whose value of a unique key another has: one of the stage (`group`), or one of the table."""

    at: int
    key: UniqueKey
    group: int | None
    shown: str


def find_faults(
    transaction: Transaction,
    table: Table,
    *,
    given: Collection[str] | None,
    limit: int | None = VIOLATIONS_MAX,
) -> list[RowFault]:
    """Return why rows of the stage cannot be written, by row.

    `given`: some of them are new versions of rows of the table, known by their row ids, with new values in
    these columns; what the others hold is not told. None: all are new.

    With a `limit` that many faults are enough; without, each bad row has one at least, one that is bad only
    if the bad ones are left out too. Of rows with one key the first that neither is null nor breaks a check
    where it must not goes before the others, which are bad even if it is bad in the end.
    """
    faults = list(_null_faults(transaction, table, limit))
    faults += _check_faults(transaction, table, limit)
    bad = {fault.index for fault in faults} if limit is None else set()
    faults += _key_faults(transaction, table, bad, given=given, limit=limit)
    if given is not None and limit is None and faults:
        faults += _kept_key_faults(transaction, table, {fault.index for fault in faults}, given)
    return sorted(faults, key=lambda fault: fault.index)[:limit]


def refusal(faults: Sequence[RowFault], path: str, *, indexed: bool) -> Fault:
    """Return the fault of a request with bad rows.

    `path` is where the rows stand in it; `indexed` if the faults' indexes are places there.
    """
    first = next((fault for fault in faults if fault.reason != "DUPLICATE_KEY"), faults[0])
    kind = AlreadyExists if first.reason == "DUPLICATE_KEY" else InvalidArgument
    violations = tuple(
        FieldViolation(
            field=f"{path}{f'[{fault.index}]' if indexed else ''}"
            + (f".{fault.column}" if fault.column else ""),
            description=fault.message,
            reason=fault.reason,
        )
        for fault in faults[:VIOLATIONS_MAX]
    )
    metadata = {"row": str(first.index)}
    if first.column:
        metadata["column"] = first.column
    if first.detail:
        metadata["check" if first.reason == "CHECK_FAILED" else "key"] = first.detail
    fault = kind(first.reason, first.message, violations=violations)
    fault.metadata.update(metadata)
    return fault


def _null_faults(transaction: Transaction, table: Table, limit: int | None) -> Iterator[RowFault]:
    for column in table.columns:
        if not column.not_null:
            continue
        name = quoted(column.name)
        for [at] in transaction.rows(
            _limited(f"SELECT {AT} FROM {STAGE} WHERE {name} IS NULL", limit)
        ):
            yield RowFault(
                index=_whole(at),
                column=column.name,
                reason="ROW_INVALID",
                message=f"row {at}, column {column.name!r}: null in a column that refuses it",
            )


def _check_faults(transaction: Transaction, table: Table, limit: int | None) -> Iterator[RowFault]:
    for check in table.checks:
        checked = constraint(transaction.cursor, check.expression, table.columns)
        # Null passes. An error does not: the row could not be written either.
        fails = f"TRY(coalesce({checked.sql}, true)) IS NOT TRUE"
        [column] = checked.columns if len(checked.columns) == 1 else [""]
        for [at] in transaction.rows(_limited(f"SELECT {AT} FROM {STAGE} WHERE {fails}", limit)):
            yield RowFault(
                index=_whole(at),
                column=column,
                reason="CHECK_FAILED",
                message=f"row {at} breaks check {_described(check)}",
                detail=check.name,
            )


def _described(check: Check) -> str:
    return f"{check.name!r}: {_cut(check.expression)}"


def _key_faults(
    transaction: Transaction,
    table: Table,
    bad: set[int],
    *,
    given: Collection[str] | None,
    limit: int | None,
) -> Iterator[RowFault]:
    clashes: dict[int, list[_Clash]] = {}
    for key in table.unique_keys:
        for clash in _clashes(transaction, table, key, given=given, limit=limit):
            clashes.setdefault(clash.at, []).append(clash)
    taken: dict[tuple[str, int], int] = {}
    for at in sorted(clashes.keys() - bad):
        fault = _first_fault(clashes[at], taken)
        if fault is not None:
            yield fault
            continue
        for clash in clashes[at]:
            if clash.group is not None:
                taken[clash.key.name, clash.group] = at


def _kept_key_faults(
    transaction: Transaction, table: Table, bad: set[int], given: Collection[str]
) -> Iterator[RowFault]:
    """Find the rows with a key that a row of the table keeps, as what was to change it is bad.

    They are bad then themselves, and so on; `bad` grows by them.
    """
    followers: dict[int, list[_Clash]] = {}
    for key in table.unique_keys:
        names = [quoted(name) for name in key.columns]
        for holder, at, *values in transaction.rows(
            f"SELECT r.{AT}, s.{AT}, {', '.join(f's.{name}::VARCHAR' for name in names)}"
            f" FROM {STAGE} AS s"
            f" JOIN {physical(table)} AS t ON {' AND '.join(f's.{n} = t.{n}' for n in names)}"
            f" JOIN {STAGE} AS r ON r.{ROW_ID} = t.{ROW_ID} WHERE r.{AT} <> s.{AT}"
        ):
            shown = _told(key, values, given)
            clash = _Clash(at=_whole(at), key=key, group=None, shown=shown)
            followers.setdefault(_whole(holder), []).append(clash)
    pending = list(bad)
    while pending:
        for clash in followers.get(pending.pop(), ()):
            if clash.at not in bad:
                bad.add(clash.at)
                pending.append(clash.at)
                yield _taken_in_table(clash)


def _taken_in_table(clash: _Clash) -> RowFault:
    return _duplicate(clash, f"row {clash.at}: a row of the table has {clash.shown}")


def _duplicate(clash: _Clash, why: str) -> RowFault:
    return RowFault(
        index=clash.at,
        column=clash.key.columns[0] if len(clash.key.columns) == 1 else "",
        reason="DUPLICATE_KEY",
        message=why,
        detail=clash.shown,
    )


def _first_fault(clashes: Iterable[_Clash], taken: dict[tuple[str, int], int]) -> RowFault | None:
    for clash in clashes:
        if clash.group is None:
            return _taken_in_table(clash)
        if (clash.key.name, clash.group) in taken:
            other = taken[clash.key.name, clash.group]
            return _duplicate(clash, f"row {clash.at}: row {other} has {clash.shown} too")
    return None


def _clashes(
    transaction: Transaction,
    table: Table,
    key: UniqueKey,
    *,
    given: Collection[str] | None,
    limit: int | None,
) -> Iterator[_Clash]:
    names = [quoted(name) for name in key.columns]
    texts = ", ".join(f"s.{name}::VARCHAR" for name in names)
    same = " AND ".join(f"s.{name} = t.{name}" for name in names)
    gone = (
        f" AND NOT EXISTS (FROM {STAGE} AS r WHERE r.{ROW_ID} = t.{ROW_ID})"
        if given is not None
        else ""
    )
    for at, *values in transaction.rows(
        _limited(
            f"SELECT s.{AT}, {texts} FROM {STAGE} AS s JOIN {physical(table)} AS t ON {same}"
            f" WHERE true{gone}",
            limit,
        )
    ):
        yield _Clash(at=_whole(at), key=key, group=None, shown=_told(key, values, given))
    within = f"PARTITION BY {', '.join(f's.{name}' for name in names)}"
    no_null = " AND ".join(f"s.{name} IS NOT NULL" for name in names)
    first = f"min(s.{AT}) OVER ({within})"
    # All of a group: its first may be bad for another reason, and the second good then.
    for at, group, *values in transaction.rows(
        f"SELECT s.{AT}, {first} AS __first, {texts} FROM {STAGE} AS s WHERE {no_null}"
        f" QUALIFY count(*) OVER ({within}) > 1 ORDER BY __first, s.{AT}"
        + (f" LIMIT {2 * limit}" if limit else "")
    ):
        shown = _told(key, values, given)
        yield _Clash(at=_whole(at), key=key, group=_whole(group), shown=shown)


def _told(key: UniqueKey, values: Sequence[object], given: Collection[str] | None) -> str:
    """Return the values of a key, or those of them that were given; who gave them may not see the others."""
    if given is None:
        return key_text(key.columns, values)
    told = {n: v for n, v in zip(key.columns, values, strict=True) if n in given}
    return key_text(tuple(told), tuple(told.values())) or f"its values of key {key.name!r}"


def key_text(names: Sequence[str], values: Sequence[object]) -> str:
    """Return the values of a key as a message shows them."""
    return ", ".join(
        f"{name}: {_cut(str(value))}" for name, value in zip(names, values, strict=True)
    )


def _limited(sql: str, limit: int | None) -> str:
    return f"{sql} ORDER BY {AT} LIMIT {limit}" if limit else sql


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}…"


def _whole(number: object) -> int:
    assert isinstance(number, int)
    return number
