"""Files that earlier versions of the service have written, opened by this one."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from tests.table_service.schema_calls import (
    a_column,
    add,
    alter,
    get,
    insert,
    retype,
    revert,
    versions,
)
from tests.table_service.serving import serving

COLUMNS = [
    {
        "name": name,
        "type": {
            "kind": kind,
            "precision": 0,
            "scale": 0,
            "element": {"kind": "INT64", "precision": 0, "scale": 0, "element": None, "fields": []}
            if kind == "LIST"
            else None,
            "fields": [],
        },
        "not_null": name == "a",
        "description": "",
    }
    for name, kind in (("a", "STRING"), ("l", "LIST"))
]
DEFINITION = {"description": "old", "columns": COLUMNS, "unique_keys": [["a"]]}
# As the first version of the service wrote a file with two tables and a dataset.
LAYOUT_1 = (
    "CREATE SCHEMA flux.catalog",
    "CREATE SCHEMA flux.datasets",
    "CREATE TABLE catalog.layout (version BIGINT NOT NULL)",
    "INSERT INTO catalog.layout VALUES (1)",
    """CREATE TABLE catalog.tables (
        id VARCHAR NOT NULL, namespace VARCHAR NOT NULL, name VARCHAR NOT NULL,
        definition VARCHAR NOT NULL, schema_version BIGINT NOT NULL, state VARCHAR NOT NULL,
        owner VARCHAR NOT NULL, create_time TIMESTAMP NOT NULL, update_time TIMESTAMP NOT NULL)""",
    """CREATE TABLE catalog.datasets (
        id VARCHAR NOT NULL, owner VARCHAR NOT NULL, columns VARCHAR NOT NULL,
        row_count BIGINT NOT NULL, create_time TIMESTAMP NOT NULL, expire_time TIMESTAMP NOT NULL)""",
    "CREATE TABLE catalog.row_ids (table_id VARCHAR NOT NULL, reserved BIGINT NOT NULL)",
    *(
        f"CREATE TABLE flux.main.{id_} (_row_id BIGINT NOT NULL, _version BIGINT NOT NULL,"
        " a VARCHAR NOT NULL, l BIGINT[], UNIQUE (a))"
        for id_ in ("tbl_1", "tbl_2")
    ),
    "INSERT INTO flux.main.tbl_1 VALUES (1, 3, 'x', [1, 2])",
    "INSERT INTO catalog.row_ids VALUES ('tbl_1', 5), ('tbl_2', 0)",
    "CREATE TABLE flux.datasets.ds_1 (a VARCHAR, l BIGINT[])",
)


async def test_file_of_the_first_layout_is_read_as_it_was(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{tmp_path / 'flux.duckdb'}' AS flux")
        connection.execute("USE flux")
        for statement in LAYOUT_1:
            connection.execute(statement)
        for id_, state in (("tbl_1", "ACTIVE"), ("tbl_2", "DELETED")):
            connection.execute(
                "INSERT INTO catalog.tables VALUES ($1, 'main', 't', $2, 1, $3, 'usr_1',"
                " TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02')",
                [id_, json.dumps(DEFINITION), state],
            )
        connection.execute(
            "INSERT INTO catalog.datasets VALUES ('ds_1', 'usr_1', $1, 0,"
            " TIMESTAMP '2026-01-01', TIMESTAMP '2126-01-01')",
            [json.dumps(COLUMNS)],
        )
    for _ in range(2):
        async with serving(tmp_path) as served:
            client = served.client()
            table = await get(client, "t")
            assert [(c.name, c.id) for c in table.columns] == [("a", 1), ("l", 2)]
            assert [(k.name, list(k.columns)) for k in table.unique_keys] == [("a", ["a"])]
            assert await client.values("SELECT * FROM t") == [("x", [1, 2])]
            assert [version.author for version in await versions(client, "t")] == ["usr_1"]
            deleted = served.store.writer.catalog.by_id["tbl_2"].delete_time
            assert deleted is not None
            assert deleted.isoformat() == "2026-01-02T00:00:00+00:00"
            assert served.store.datasets["ds_1"].columns[1].type.element is not None
    async with serving(tmp_path) as served:
        client = served.client()
        await alter(client, "t", retype("l", "STRING"), add(a_column("n")))
        await revert(client, "t", 1, validate_only=True)
        assert await insert(client, "t", ["a"], ["y"]) == [6]
