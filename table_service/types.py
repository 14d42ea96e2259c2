"""The types that columns have, and how each is written in DuckDB's SQL.

Pure. A type has three SQL faces: the one it is stored as (`sql_type`), the one its values cross into
Arrow as (`carrier_sql`, which differs where Arrow's own conversion would lose something), and those
DuckDB may answer with that tables cannot hold (`type_from_sql` gives the nearest type).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DECIMAL_PRECISION_DEFAULT = 18
DECIMAL_PRECISION_MAX = 38
TYPE_DEPTH_MAX = 16

ROW_ID = "_row_id"
VERSION = "_version"


class Kind(StrEnum):
    """The kinds of type; the names are those of flux.table.v1.Type.Kind without the prefix."""

    BOOL = "BOOL"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    INT128 = "INT128"
    DECIMAL = "DECIMAL"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    STRING = "STRING"
    BYTES = "BYTES"
    UUID = "UUID"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"
    LOCAL_TIMESTAMP = "LOCAL_TIMESTAMP"
    INTERVAL = "INTERVAL"
    JSON = "JSON"
    LIST = "LIST"
    STRUCT = "STRUCT"
    MAP = "MAP"
    ENUM = "ENUM"
    UNKNOWN = "UNKNOWN"


INTEGER_BITS = {Kind.INT16: 16, Kind.INT32: 32, Kind.INT64: 64, Kind.INT128: 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type with its parameters.

    `precision` and `scale` are for decimals, `element` for lists and maps, `fields` for structs, `labels`
    for enums.
    """

    kind: Kind
    precision: int = 0
    scale: int = 0
    element: Type | None = None
    fields: tuple[Column, ...] = ()
    labels: tuple[str, ...] = ()


class DefaultFunction(StrEnum):
    """Values made anew; the names are those of flux.table.v1.Default.Function without the prefix."""

    NOW = "NOW"
    UUID = "UUID"
    SEQUENCE = "SEQUENCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What a row gets that comes without a column: `function`, or else `literal`.

    A literal is a Python value as `chassis.values.from_value` gives it.
    """

    literal: object = None
    function: DefaultFunction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table or of a result; `id` is its number in a table, 0 elsewhere."""

    name: str
    type: Type
    not_null: bool = False
    description: str = ""
    id: int = 0
    default: Default | None = None

    @property
    def required(self) -> bool:
        """Return whether a row must come with a value of it."""
        return self.not_null and self.default is None


SYSTEM_COLUMNS = (
    Column(name=ROW_ID, type=Type(kind=Kind.INT64), not_null=True),
    Column(name=VERSION, type=Type(kind=Kind.INT64), not_null=True),
)

_SQL = {
    Kind.BOOL: "BOOLEAN",
    Kind.INT16: "SMALLINT",
    Kind.INT32: "INTEGER",
    Kind.INT64: "BIGINT",
    Kind.INT128: "HUGEINT",
    Kind.FLOAT: "FLOAT",
    Kind.DOUBLE: "DOUBLE",
    Kind.STRING: "VARCHAR",
    Kind.BYTES: "BLOB",
    Kind.UUID: "UUID",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
    Kind.LOCAL_TIMESTAMP: "TIMESTAMP",
    Kind.INTERVAL: "INTERVAL",
    Kind.JSON: "JSON",
}
# Arrow has no type of its own for these; as text they lose nothing on either version of DuckDB.
_CARRIED_AS_TEXT = frozenset({Kind.INT128, Kind.UUID, Kind.JSON, Kind.ENUM})

_NAMED = {sql: Type(kind=kind) for kind, sql in _SQL.items()} | {
    "TINYINT": Type(kind=Kind.INT16),
    "UTINYINT": Type(kind=Kind.INT16),
    "USMALLINT": Type(kind=Kind.INT32),
    "UINTEGER": Type(kind=Kind.INT64),
    "UBIGINT": Type(kind=Kind.INT128),
    "TIMESTAMP_S": Type(kind=Kind.LOCAL_TIMESTAMP),
    "TIMESTAMP_MS": Type(kind=Kind.LOCAL_TIMESTAMP),
    "TIMESTAMP_NS": Type(kind=Kind.LOCAL_TIMESTAMP),
    '"NULL"': Type(kind=Kind.INT32),
    "NULL": Type(kind=Kind.INT32),
    "DECIMAL": Type(kind=Kind.DECIMAL, precision=DECIMAL_PRECISION_DEFAULT, scale=3),
}


# Fields of `row(…)` have no names: 1.5 calls their type STRUCT, 2.0 TUPLE. Here they are numbered from 1.
_FIELD = re.compile(r'("(?:[^"]|"")*"|[^\s()\[\],"]+) ')
_OF_SEVERAL_WORDS = ("TIMESTAMP WITH TIME ZONE", "TIME WITH TIME ZONE")


def quoted(name: str) -> str:
    """Return the name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    """Return the text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def precision(type_: Type) -> int:
    """Return how many digits a decimal type has: 0 stands for the default."""
    return type_.precision or DECIMAL_PRECISION_DEFAULT


def sql_type(type_: Type) -> str:
    """Return the type that a column of this type is stored as."""
    return _written(type_, _SQL)


def carrier_sql(type_: Type) -> str:
    """Return the type to cast to or from where values cross between DuckDB and Arrow."""
    return _written(type_, _SQL | dict.fromkeys(_CARRIED_AS_TEXT, "VARCHAR"))


def incoming(expression: str, type_: Type) -> str:
    """Return SQL that makes a stored value of what arrived as the carrier type."""
    stored = sql_type(type_)
    return expression if stored == carrier_sql(type_) else f"CAST({expression} AS {stored})"


def outgoing(expression: str, column: Column, written: str | None = None) -> str:
    """Return SQL that makes the carrier of a value, under the column's name.

    `written` is DuckDB's text of the expression's type where it may be one that tables cannot hold.
    """
    carrier = carrier_sql(column.type)
    if (written or sql_type(column.type)) != carrier:
        expression = f"CAST({expression} AS {carrier})"
    return f"{expression} AS {quoted(column.name)}"


def outgoing_list(columns: Sequence[Column]) -> str:
    """Return the select list that reads stored columns as carriers."""
    return ", ".join(outgoing(quoted(column.name), column) for column in columns)


def type_from_sql(text: str) -> Type:
    """Return the nearest type to what DuckDB calls `text`, such as "DECIMAL(18,3)" or "STRUCT(a DATE[])".

    What has no counterpart (bit strings, unions, times with zones, …) is text.
    """
    reader = _Reader(text)
    return reader.type()


def _written(type_: Type, names: dict[Kind, str]) -> str:
    match type_.kind:
        case Kind.DECIMAL:
            return f"DECIMAL({precision(type_)},{type_.scale})"
        case Kind.LIST:
            assert type_.element is not None
            return f"{_written(type_.element, names)}[]"
        case Kind.MAP:
            assert type_.element is not None
            return f"MAP(VARCHAR, {_written(type_.element, names)})"
        case Kind.STRUCT:
            fields = (f"{quoted(f.name)} {_written(f.type, names)}" for f in type_.fields)
            return f"STRUCT({', '.join(fields)})"
        case Kind.ENUM:
            return names[Kind.STRING] if Kind.ENUM in names else _enum_sql(type_.labels)
        case kind:
            return names[kind]


def _enum_sql(labels: tuple[str, ...]) -> str:
    return "ENUM(" + ", ".join(map(sql_text, labels)) + ")"


class _Reader:
    """A recursive reader of DuckDB's type texts: `at` is where it stands in `text`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def type(self) -> Type:
        start = self.at
        name = self._word()
        arguments = self.at < len(self.text) and self.text[self.at] == "("
        if name == "DECIMAL" and arguments:
            digits, scale = self._skip_parentheses().split(",")
            result = Type(kind=Kind.DECIMAL, precision=int(digits), scale=int(scale))
        elif name == "ENUM" and arguments:
            result = Type(kind=Kind.ENUM, labels=self._labels())
        elif name in ("STRUCT", "TUPLE") and arguments:
            result = Type(kind=Kind.STRUCT, fields=self._fields())
        elif name == "MAP" and arguments:
            self.at += 1
            self.type()
            self._expect(", ")
            result = Type(kind=Kind.MAP, element=self.type())
            self._expect(")")
        else:
            if arguments:
                self._skip_parentheses()
            result = _NAMED.get(self.text[start : self.at], Type(kind=Kind.STRING))
        while self.at < len(self.text) and self.text[self.at] == "[":
            self.at = self.text.index("]", self.at) + 1
            result = Type(kind=Kind.LIST, element=result)
        return result

    def _word(self) -> str:
        """Read a type name, which may have spaces and be quoted."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in "()[],":
            if self.text[self.at] == '"':
                self._quoted()
            else:
                self.at += 1
        return self.text[start : self.at]

    def _fields(self) -> tuple[Column, ...]:
        fields: list[Column] = []
        self.at += 1
        while self.text[self.at] != ")":
            if fields:
                self._expect(", ")
            name = self._field_name() or str(len(fields) + 1)
            fields.append(Column(name=name, type=self.type()))
        self._expect(")")
        return tuple(fields)

    def _field_name(self) -> str:
        """Read a field's name and the space after it; nothing if it has none."""
        found = _FIELD.match(self.text, self.at)
        if found is None or self.text.startswith(_OF_SEVERAL_WORDS, self.at):
            return ""
        self.at = found.end()
        name = found[1]
        return name[1:-1].replace('""', '"') if name.startswith('"') else name

    def _labels(self) -> tuple[str, ...]:
        labels: list[str] = []
        self.at += 1
        while self.text[self.at] != ")":
            if labels:
                self._expect(", ")
            labels.append(self._quoted("'"))
        self._expect(")")
        return tuple(labels)

    def _quoted(self, mark: str = '"') -> str:
        """Read what stands in quotes, doubled ones standing for one."""
        start = self.at
        self.at += 1
        while True:
            self.at = self.text.index(mark, self.at) + 1
            if not self.text.startswith(mark, self.at):
                return self.text[start + 1 : self.at - 1].replace(mark * 2, mark)
            self.at += 1

    def _skip_parentheses(self) -> str:
        """Return what stands between the parentheses here, quotes of both kinds respected."""
        start, depth = self.at + 1, 0
        while True:
            character = self.text[self.at]
            if character in "'\"":
                self.at = self.text.index(character, self.at + 1)
            depth += (character == "(") - (character == ")")
            self.at += 1
            if depth == 0:
                return self.text[start : self.at - 1]

    def _expect(self, text: str) -> None:
        assert self.text.startswith(text, self.at), (self.text, self.at, text)
        self.at += len(text)
