"""What people's SQL may say, and what it is turned into before it runs.

Works on the JSON that DuckDB's `json_serialize_sql` makes of a statement (1.5 and 2.0 differ in
places; both are read) and never opens anything. Whatever `sandbox_rules` does not name is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from chassis.faults import InvalidArgument, NotFound
from table_service import sandbox_rules as rules
from table_service import sandbox_sizes as sizes
from table_service import serialized_sql as sql
from table_service.sandbox_growth import check_growth
from table_service.serialized_sql import JsonObject, JsonValue, TableName, refused

# The table an expression is selected from. No keyword, or DuckDB would quote it.
EXPRESSION_SOURCE = "one_row"
_EXPRESSION_BEGINS, _EXPRESSION_ENDS = "SELECT ", f" FROM {EXPRESSION_SOURCE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """The physical table behind a name, and the columns a caller may see.

    `columns`: pairs of (physical name, exposed name), one per visible column, in the order of
    `SELECT *`.
    """

    schema: str
    table: str
    columns: tuple[tuple[str, str], ...]


def parse(serialized: str) -> JsonObject:
    """Return the JSON text of `json_serialize_sql` as a value.

    Raises:
        InvalidArgument: SQL_INVALID if DuckDB could not parse the statement, SQL_REFUSED if it is
            no SELECT or is nested deeper than Python can read.
    """
    try:
        value: JsonObject = json.loads(serialized)
    except RecursionError:
        raise refused(
            "nesting", f"the statement is nested more than {rules.DEPTH_MAX} deep"
        ) from None
    _statement(value)
    return value


def check_statement(serialized: JsonObject) -> None:
    """Refuse everything but one SELECT made of what the rules name.

    Raises:
        InvalidArgument: SQL_INVALID or SQL_REFUSED, the latter with the construct's name.
    """
    statement = _statement(serialized)
    sizes.check_extent(statement)
    _check_nodes(statement)
    check_growth(statement)


def base_tables(serialized: JsonObject) -> set[TableName]:
    """Return (namespace, name), as written, of each table that is no common table expression.

    The namespace is empty where none is written. Names differing only in case are one table to
    DuckDB.
    """
    references, _ = sql.resolve(_statement(serialized))
    return {sql.written_name(reference.node) for reference in references if reference.cte is None}


def parameters(serialized: JsonObject) -> set[str]:
    """Return the names of the parameters; `?` and `$1` are named by position, from "1"."""
    return {
        sql.text(node, "identifier")
        for node in sql.nodes(_statement(serialized))
        if node.get("class") == "PARAMETER"
    }


def rewrite(serialized: JsonObject, relations: Mapping[TableName, Relation]) -> JsonObject:
    """Return the statement with each base table replaced by a subquery over its relation.

    The keys of `relations` are (namespace, name) in any case. The subquery has the alias, or else
    the name, that the statement gives the table. The argument is left as it is.

    Raises:
        NotFound: TABLE_NOT_FOUND if a name is not among `relations`.
    """
    folded = {sql.fold_name(name): relation for name, relation in relations.items()}
    tree = sql.copy(serialized)
    references, definitions = sql.resolve(_statement(tree))
    _shorten_columns(tree, references)
    _name_columns(tree)
    # Renamed, because then no name from the statement is left for DuckDB to resolve: where its
    # scoping and ours differ, it finds no such table, never one the caller may not see. The space
    # keeps Python's replacement scan out, which takes a name for a variable of the caller's frames.
    for definition in definitions:
        definition.entry["key"] = definition.name
        # NOT MATERIALIZED would write it out wherever it stands, and what it names in turn.
        value = sql.child(definition.entry, "value")
        if sql.text(value, "materialized") == "CTE_MATERIALIZE_NEVER":
            value["materialized"] = "CTE_MATERIALIZE_DEFAULT"
        if "cte_name" in definition.query:
            definition.query["cte_name"] = definition.name
    for reference in references:
        node, (namespace, name) = reference.node, sql.written_name(reference.node)
        if reference.cte is not None:
            node["alias"] = sql.text(node, "alias") or name
            node["table_name"] = reference.cte
            node["qualified_name"] = {"path": [*filter(None, [namespace]), reference.cte]}
            continue
        relation = folded.get(sql.fold_name((namespace, name)))
        if relation is None:
            written = f"{namespace}.{name}" if namespace else name
            raise NotFound("TABLE_NOT_FOUND", f"no table {written!r}", table=written)
        replacement = _projection(node, relation)
        node.clear()
        node.update(replacement)
    return tree


def check_rewritten(serialized: JsonObject, relations: Mapping[TableName, Relation]) -> None:
    """Confirm that the text DuckDB made of a rewritten statement reads nothing but `relations`.

    The last lock: it holds even if `json_deserialize_sql` forgets to quote something a person
    wrote.
    """
    statement = _statement(serialized)
    _check_nodes(statement)
    physical = {(relation.schema, relation.table) for relation in relations.values()}
    for reference in sql.resolve(statement)[0]:
        if reference.cte is None and sql.written_name(reference.node) not in physical:
            raise refused("table name", "a name in the statement cannot be quoted safely")


def expression_statement(expression: str) -> str:
    """Return the statement to serialise for `check_expression`; it closes a trailing comment."""
    return f"{_EXPRESSION_BEGINS}({expression}\n){_EXPRESSION_ENDS}"


def check_expression(serialized: JsonObject, columns: Collection[str]) -> set[str]:
    """Return the columns, as `columns` spells them, that one expression uses.

    `serialized` is what DuckDB makes of `expression_statement`. Anything not exactly of that shape
    has closed the parenthesis early and is refused, as are subqueries, aggregates, windows and
    columns that are not in `columns`. Parameters are allowed.

    Raises:
        InvalidArgument: SQL_INVALID or SQL_REFUSED.
    """
    check_statement(serialized)
    expression = _only_expression(serialized)
    if expression.get("class") == "FUNCTION" and sql.function_name(expression) == "row":
        raise refused("row", "exactly one expression is accepted, not a list of them")
    for node in sql.nodes(expression):
        _check_row_local(node)
    spelled = {sql.fold(column): column for column in columns}
    used: set[str] = set()
    for name in sql.free_columns(expression, rules.LAMBDA_CALLS):
        column = spelled.get(sql.fold(name))
        if column is None:
            raise InvalidArgument("SQL_INVALID", f"no column {name!r} here", column=name)
        used.add(column)
    return used


def expression_sql(statement: str) -> str:
    """Return, in parentheses, the expression in what `json_deserialize_sql` made of a checked one.

    Only this may be put into other SQL, never the text as it came: `a) OR (b` is one expression,
    and means something else next to an AND.
    """
    expression = statement.removeprefix(_EXPRESSION_BEGINS).removesuffix(_EXPRESSION_ENDS)
    if f"{_EXPRESSION_BEGINS}{expression}{_EXPRESSION_ENDS}" != statement:
        raise refused("expression", "the expression cannot be written back")
    return f"({expression})"


def _statement(serialized: JsonObject) -> JsonObject:
    """Return the one statement within, or raise what DuckDB or the sandbox has against it."""
    if serialized.get("error"):
        message = sql.text(serialized, "error_message")
        if "Only SELECT statements" in message:
            raise refused(
                "statement",
                "only a SELECT is accepted; in place of a PIVOT statement write FROM … PIVOT (…)",
            )
        position = sql.text(serialized, "position")
        if position:
            raise InvalidArgument("SQL_INVALID", message, position=position)
        raise InvalidArgument("SQL_INVALID", message)
    statements = sql.objects(serialized, "statements")
    if len(statements) != 1:
        raise refused("statements", f"exactly one statement is accepted, not {len(statements)}")
    return statements[0]


def _check_nodes(statement: JsonObject) -> None:
    growth = 1
    in_from: set[int] = set()
    for node in sql.nodes(statement):
        if "class" in node:
            _check_expression_node(node, in_from=id(node) in in_from)
            if node["class"] == "FUNCTION" and id(node) not in in_from:
                growth *= sizes.check_size(node)
        elif isinstance(node.get("type"), str):
            _check_clause(node)
            if node["type"] == "TABLE_FUNCTION":
                in_from.add(id(sql.child(node, "function")))
        elif "id" in node:
            _check_type(sql.text(node, "id"), node)
        if growth > rules.GROWTH_MAX:
            raise refused(
                "size", f"sizes in the statement multiply to more than {rules.GROWTH_MAX}"
            )


def _check_clause(node: JsonObject) -> None:
    kind = sql.text(node, "type")
    if kind not in rules.CLAUSES:
        raise refused(kind, f"{kind} is not allowed in a query")
    if kind == "BASE_TABLE":
        path = (
            sql.items(sql.child(node, "qualified_name"), "path") if "qualified_name" in node else []
        )
        if sql.text(node, "catalog_name") or len(path) > 2:
            raise refused("catalog name", "a table is named as `name` or `namespace.name`")
        if node.get("at_clause") is not None:
            raise refused("AT", "AT is not allowed: a table has no versions to read here")
    if kind == "TABLE_FUNCTION" and sql.child(node, "function").get("class") != "FUNCTION":
        raise refused("table function", "only a function may be called in FROM")
    if kind == "PIVOT" and any(
        sql.text(pivot, "pivot_enum") for pivot in sql.objects(node, "pivots")
    ):
        raise refused("PIVOT", "PIVOT by a type is not allowed: list the values")
    if kind == "UNBOUND_TYPE_INFO":
        _check_type(sql.text(node, "name"), node)


def _check_expression_node(node: JsonObject, *, in_from: bool) -> None:
    kind, subtype = sql.text(node, "class"), sql.text(node, "type")
    if subtype not in rules.EXPRESSIONS.get(kind, frozenset()):
        raise refused(subtype, f"{subtype} is not allowed in an expression")
    if kind == "TYPE":
        _check_type(sql.text(node, "type_name"), node)
    elif kind == "COLUMN_REF":
        names = sql.items(node, "column_names")
        if (
            len(names) == 1
            and isinstance(names[0], str)
            and sql.fold(names[0]) in rules.SESSION_NAMES
        ):
            raise refused(
                names[0], f"{names[0]} is not allowed: it tells of the server, not of the data"
            )
    elif kind in ("FUNCTION", "WINDOW"):
        _check_function(node, in_from=in_from)


def _check_function(node: JsonObject, *, in_from: bool) -> None:
    name, schema = sql.function_name(node), sql.text(node, "schema")
    if in_from:
        allowed = rules.TABLE_FUNCTIONS
    elif node["class"] == "WINDOW":
        allowed = rules.WINDOWS | rules.AGGREGATES
    else:
        allowed = rules.SCALARS | rules.AGGREGATES
    if name not in allowed:
        place = "in FROM" if in_from else "in a query"
        raise refused(name, f"the function {name} is not allowed {place}")
    if sql.text(node, "catalog") or (schema and not _is_parsers(node, in_from=in_from)):
        raise refused(name, f"call the function as {name}(…), with nothing before its name")
    if node.get("export_state"):
        raise refused("EXPORT_STATE", "EXPORT_STATE is not allowed in a query")


def _is_parsers(node: JsonObject, *, in_from: bool) -> bool:
    """Tell whether the parser may have qualified the call; only 1.5's does, and has `children`."""
    known = sql.text(node, "schema") in rules.PARSER_SCHEMAS and "children" in node
    return known and sql.function_name(node) not in rules.PLACED and not in_from


def _check_type(name: str, node: JsonObject) -> None:
    if sql.fold(name) not in rules.TYPES or sql.text(node, "schema") or sql.text(node, "catalog"):
        raise refused(name, f"the type {name} is not allowed in a query")
    if sizes.array_elements(node) > rules.ARRAY_ELEMENTS_MAX:
        raise refused(name, f"an array type may hold {rules.ARRAY_ELEMENTS_MAX} elements at most")


def _only_expression(serialized: JsonObject) -> JsonObject:
    node = sql.child(_statement(serialized), "node")
    source = sql.child(node, "from_table")
    select_list = sql.objects(node, "select_list")
    empty = (
        "modifiers",
        "where_clause",
        "group_expressions",
        "group_sets",
        "having",
        "sample",
        "qualify",
    )
    exact = (
        node.get("type") == "SELECT_NODE"
        and len(select_list) == 1
        and not sql.text(select_list[0], "alias")
        and not any(node.get(field) for field in empty)
        and not sql.cte_entries(node)
        and node.get("aggregate_handling") in (None, "STANDARD_HANDLING")
        and source.get("type") == "BASE_TABLE"
        and sql.written_name(source) == ("", EXPRESSION_SOURCE)
        and not any(source.get(field) for field in ("alias", "sample", "column_name_alias"))
    )
    if not exact:
        raise refused("expression", "exactly one expression is accepted, with balanced parentheses")
    return select_list[0]


def _check_row_local(node: JsonObject) -> None:
    """Refuse what one row alone does not decide."""
    kind = node.get("class")
    if kind in ("SUBQUERY", "WINDOW", "STAR", "POSITIONAL_REFERENCE") or "select_list" in node:
        raise refused(str(kind), f"{kind} is not allowed here: an expression is about one row")
    if kind == "OPERATOR" and node["type"] == "GROUPING_FUNCTION":
        raise refused("GROUPING", "GROUPING is not allowed here: an expression is about one row")
    if kind == "FUNCTION":
        name = sql.function_name(node)
        if name in rules.UNSTOPPABLE:
            raise refused(
                name, f"the function {name} is allowed in queries alone: it may take long"
            )
        if name not in rules.SCALARS or name in rules.SEVERAL_ROWS:
            raise refused(
                name, f"the function {name} is not allowed here: an expression is about one row"
            )


def _shorten_columns(tree: JsonObject, references: Collection[sql.Reference]) -> None:
    """Turn `namespace.table.column` into `table.column`: a subquery's alias has no namespace."""
    qualified = {
        sql.fold_name(sql.written_name(reference.node))
        for reference in references
        if sql.text(reference.node, "schema_name") and not sql.text(reference.node, "alias")
    }
    for node in sql.nodes(tree):
        if node.get("class") == "COLUMN_REF":
            names = sql.items(node, "column_names")
            parts = [sql.fold(name) for name in names[:2] if isinstance(name, str)]
            if len(names) >= 3 and (parts[0], parts[1]) in qualified:
                del names[0]


def _name_columns(tree: JsonObject) -> None:
    """Name each result that is not named and has a table inside.

    DuckDB names a result after its text, which after rewriting would tell of physical tables.
    """
    for node in list(sql.nodes(tree)):
        for place, item in enumerate(sql.objects(node, "select_list"), start=1):
            unnamed = item.get("class") != "STAR" and not sql.text(item, "alias")
            if unnamed and any(inner.get("type") == "BASE_TABLE" for inner in sql.nodes(item)):
                item["alias"] = f"column_{place}"


def _projection(node: JsonObject, relation: Relation) -> JsonObject:
    """Return `(SELECT physical AS exposed, … FROM schema.table) AS alias` in place of a base table."""
    # Fields left out have DuckDB's defaults; both ways of naming a table are there, 1.5's and 2.0's.
    column: JsonObject = {"class": "COLUMN_REF", "type": "COLUMN_REF"}
    select_list: list[JsonValue] = [
        # With the table's name: "current_user" alone would be the function.
        {**column, "alias": exposed, "column_names": [relation.table, physical]}
        for physical, exposed in relation.columns
    ]
    source: JsonObject = {
        "type": "BASE_TABLE",
        "sample": node.get("sample"),
        "schema_name": relation.schema,
        "table_name": relation.table,
        "qualified_name": {"path": [relation.schema, relation.table]},
    }
    query: JsonObject = {
        "type": "SELECT_NODE",
        "cte_map": {"map": []},
        "select_list": select_list,
        "from_table": source,
        "aggregate_handling": "STANDARD_HANDLING",
    }
    return {
        "type": "SUBQUERY",
        "alias": sql.text(node, "alias") or sql.text(node, "table_name"),
        "subquery": {"node": query},
        "column_name_alias": node.get("column_name_alias", []),
    }
