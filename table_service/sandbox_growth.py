"""How much a statement would become before it runs, as DuckDB writes out what it names; too much is refused.

DuckDB copies an expression wherever its alias stands, a table's columns wherever a star stands, and plans
subqueries within subqueries over and over. That happens before the statement runs, where nothing stops it.
"""

from __future__ import annotations

from collections.abc import Mapping

from table_service import sandbox_rules as rules
from table_service import serialized_sql as sql
from table_service.serialized_sql import JsonObject, JsonValue, refused

_CLAUSES = ("where_clause", "group_expressions", "having", "qualify", "modifiers")


def check_growth(statement: JsonObject) -> None:
    """Refuse a statement that would grow past what can be planned.

    Raises:
        InvalidArgument: SQL_REFUSED.
    """
    for node in sql.nodes(statement):
        if "select_list" in node:
            _check_aliases(node)
            _check_stars_within(node)
            sets = len(sql.items(node, "group_sets"))
            _refuse_past(sets, rules.GROUPING_SETS_MAX, "GROUPING SETS", "grouping sets")
        if node.get("type") == "PIVOT":
            _check_pivot(node)
    _check_nesting(statement)
    _check_stars(statement)


def _check_aliases(node: JsonObject) -> None:
    """Count each item of a list with the items before it that it names written out."""
    sizes: dict[str, int] = {}
    total = 0
    for item in sql.objects(node, "select_list"):
        size = _written_out(item, sizes)
        total += size
        alias = sql.fold(sql.text(item, "alias"))
        if alias:
            sizes[alias] = max(size, sizes.get(alias, 0))
        _refuse_past(
            total, rules.WRITTEN_OUT_MAX, "aliases", "parts once its aliases are written out"
        )
    total += sum(_written_out(node.get(clause), sizes) for clause in _CLAUSES)
    _refuse_past(total, rules.WRITTEN_OUT_MAX, "aliases", "parts once its aliases are written out")


def _written_out(expression: JsonValue, sizes: dict[str, int]) -> int:
    size = 0
    for inner in sql.nodes(expression):
        size += 1
        if inner.get("class") == "COLUMN_REF":
            names = sql.items(inner, "column_names")
            size += sizes.get(sql.fold(str(names[0])), 0) if names else 0
    return size


def _check_stars_within(node: JsonObject) -> None:
    """Bound the expressions that stand for one a column, such as `COLUMNS(*) + 1`."""
    size = 0
    for item in sql.objects(node, "select_list"):
        inner = list(sql.nodes(item))
        if item.get("class") != "STAR" and any(one.get("class") == "STAR" for one in inner):
            size += len(inner)
    _refuse_past(size, rules.STAR_PARTS_MAX, "COLUMNS", "parts in expressions over several columns")


def _check_pivot(node: JsonObject) -> None:
    columns = 1
    for pivot in sql.objects(node, "pivots"):
        columns *= max(1, len(sql.items(pivot, "entries")))
    columns *= max(1, len(sql.items(node, "aggregates")))
    _refuse_past(columns, rules.PIVOT_COLUMNS_MAX, "PIVOT", "columns after its PIVOT")


def _check_nesting(statement: JsonObject) -> None:
    count = 0
    pending: list[tuple[JsonValue, int, int]] = [(statement, 0, 0)]
    while pending:
        value, subqueries, lambdas = pending.pop()
        if isinstance(value, dict):
            within = value.get("class")
            count += within == "SUBQUERY"
            subqueries += within == "SUBQUERY"
            lambdas += within == "LAMBDA"
        if subqueries > rules.SUBQUERY_DEPTH_MAX:
            limit = rules.SUBQUERY_DEPTH_MAX
            raise refused("nesting", f"subqueries in expressions nest at most {limit} deep")
        if lambdas > rules.LAMBDA_DEPTH_MAX:
            raise refused("nesting", f"lambdas nest at most {rules.LAMBDA_DEPTH_MAX} deep")
        pending.extend((child, subqueries, lambdas) for child in sql.children(value))
    _refuse_past(count, rules.SUBQUERIES_MAX, "subqueries", "subqueries in expressions")


def _check_stars(statement: JsonObject) -> None:
    """Bound how many tables' columns a star gives, where stars stand over stars.

    Each level of `SELECT *, *` doubles them, and so does each common table expression that joins the one
    before it to itself.
    """
    repeated = 1
    for node in sql.nodes(statement):
        repeated *= max(1, _most_repeated_star(node)) if "select_list" in node else 1
    _refuse_past(repeated, rules.STARS_MAX, "*", "times the columns of one table")
    references, definitions = sql.resolve(statement)
    meant = {id(reference.node): reference.cte for reference in references}
    reads = {one.name: _reads(one.query, meant) for one in definitions}
    starred = {one.name for one in definitions if _has_star(one.query)}
    widths = dict.fromkeys(reads, 1)
    # As many rounds as there are definitions, because each may name the one before it.
    for _ in definitions:
        before = dict(widths)
        for name in starred:
            tables, named = reads[name]
            width = tables + sum(widths[other] for other in named if other != name)
            _refuse_past(width * repeated, rules.STAR_TABLES_MAX, "*", "tables' columns in a star")
            widths[name] = width
        if widths == before:
            return


def _most_repeated_star(node: JsonObject) -> int:
    stars: dict[str, int] = {}
    for item in sql.objects(node, "select_list"):
        if item.get("class") == "STAR":
            whose = sql.fold(sql.text(item, "relation_name"))
            stars[whose] = stars.get(whose, 0) + 1
    return stars.pop("", 0) + max(stars.values(), default=0)


def _reads(query: JsonObject, meant: Mapping[int, str | None]) -> tuple[int, list[str]]:
    """Return how many tables a query names, and which common table expressions, each as often as it does."""
    found = [meant[id(node)] for node in sql.nodes(query) if id(node) in meant]
    names = [name for name in found if name is not None]
    return len(found) - len(names), names


def _has_star(query: JsonObject) -> bool:
    return any(node.get("class") == "STAR" for node in sql.nodes(query))


def _refuse_past(size: int, limit: int, construct: str, what: str) -> None:
    if size > limit:
        raise refused(construct, f"the statement has more than {limit} {what}")
