"""The chemical elements, their isotopes and energies: an SQLite database of the package mendeleev (MIT).

The package is installed without what it depends on, and never imported: only its file is read.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from flux.table.v1 import table_pb2
from tests.table_service.relations import Kind, Relation, Row, relation

# Table of SQLite → the columns taken, each under its own name.
_COLUMNS = {
    "series": "id:int16! name:text! color:text!",
    "groups": "group_id:int16! symbol:text! name:text!",
    "elements": (
        "atomic_number:int16! symbol:text! name:text! block:text! period:int16! group_id:int16 "
        "series_id:int16! atomic_weight:decimal(12,9)! density:double electron_affinity:double "
        "vdw_radius:double covalent_radius_cordero:double en_pauling:decimal(4,2) abundance_sea:double "
        "price_per_kg:decimal(18,4) is_monoisotopic:bool is_radioactive:bool! cas:text! "
        "lattice_structure:text discovery_year:int16 discoverers:text! name_origin:text! "
        "description:text uses:text recycling_rate:text"
    ),
    "isotopes": (
        "id:int32! atomic_number:int16! mass_number:int16! mass:decimal(15,12)! "
        "mass_uncertainty:double! abundance:decimal(8,5) is_radioactive:bool! half_life:double "
        "half_life_unit:text g_factor:double quadrupole_moment:double spin:text parity:text "
        "discovery_year:int16"
    ),
    "isotopedecaymodes": (
        "id:int64! isotope_id:int32! mode:text! relation:text! intensity:double "
        "is_allowed_not_observed:bool is_observed_intensity_unknown:bool"
    ),
    "ionizationenergies": (
        "id:int64! atomic_number:int16! species_name:text! ion_charge:int16! ground_shells:text! "
        "ground_level:text ionized_level:text ionization_energy:decimal(18,12)! uncertainty:double "
        "references:text! is_semi_empirical:bool! is_theoretical:bool!"
    ),
    "ionicradii": (
        "id:int32! atomic_number:int16! charge:int16! econf:text coordination:text! spin:text "
        "crystal_radius:double! ionic_radius:double! origin:text most_reliable:bool"
    ),
    "oxidationstates": "id:int32! atomic_number:int16! oxidation_state:int16! category:text!",
}
_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "series": (("id",), ("name",)),
    "groups": (("group_id",),),
    "elements": (("atomic_number",), ("symbol",)),
    "isotopes": (("id",), ("atomic_number", "mass_number")),
    "isotopedecaymodes": (("id",),),
    "ionizationenergies": (("id",), ("atomic_number", "ion_charge"), ("species_name",)),
    "ionicradii": (("id",),),
    "oxidationstates": (("id",), ("atomic_number", "oxidation_state")),
}
_CHECKS = {
    "series": {"color": "regexp_full_match(color, '#[0-9a-f]{6}')"},
    "elements": {"period": "period BETWEEN 1 AND 7", "group_id": "group_id BETWEEN 1 AND 18"},
    "isotopes": {
        "nucleons": "mass_number >= atomic_number",
        "half_life": "(half_life IS NULL) OR (half_life > 0)",
    },
    "isotopedecaymodes": {"percent": "intensity BETWEEN 0 AND 100"},
    "ionizationenergies": {
        "charge": "ion_charge < atomic_number",
        "source": "NOT (is_theoretical AND is_semi_empirical)",
    },
}
_ELEMENT = "atomic_number>elements(atomic_number)"
_REFERENCES = {
    "elements": ("group_id>groups(group_id)", "series_id>series(id)"),
    "isotopes": (_ELEMENT,),
    "isotopedecaymodes": ("isotope_id>isotopes(id)",),
    "ionizationenergies": (_ELEMENT,),
    "ionicradii": (_ELEMENT,),
    "oxidationstates": (_ELEMENT,),
}


@cache
def relations() -> dict[str, Relation]:
    """Return the relations by name; those that others refer to come first."""
    with closing(sqlite3.connect(f"{_file().as_uri()}?mode=ro", uri=True)) as connection:
        return {name: _relation(connection, name) for name in _COLUMNS}


def _relation(connection: sqlite3.Connection, name: str) -> Relation:
    found = relation(
        name,
        _COLUMNS[name],
        (),
        keys=_KEYS[name],
        checks=_CHECKS.get(name),
        references=_REFERENCES.get(name, ()),
    )
    names = ", ".join(f'"{column}"' for column in found.names)
    read = connection.execute(f'SELECT {names} FROM "{name}" ORDER BY 1')
    rows = tuple(_row(row, found) for row in read)
    return Relation(table=found.table, rows=rows, references=found.references)


def _row(row: Row, found: Relation) -> Row:
    return tuple(
        None if value is None else _value(value, column.type)
        for value, column in zip(row, found.columns, strict=True)
    )


def _value(value: Any, type_: table_pb2.Type) -> object:
    """Return a value of SQLite as the type has it: it keeps booleans as 0 and 1, decimals as doubles."""
    match type_.kind:
        case Kind.KIND_BOOL:
            return bool(value)
        case Kind.KIND_DECIMAL:
            return Decimal(repr(value)).quantize(Decimal(1).scaleb(-type_.scale))
        case _:
            return value


def _file() -> Path:
    found = importlib.util.find_spec("mendeleev")
    assert found is not None, "mendeleev is not installed; `make` installs it"
    assert found.origin is not None
    return Path(found.origin).parent / "elements.db"
