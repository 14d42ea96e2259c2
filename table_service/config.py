"""The settings of table_service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceSettings

_SIZE = r"^\d+(\.\d+)?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$"


class Settings(ServiceSettings):
    """Read once from FLUX_TABLE_*."""

    model_config = SettingsConfigDict(env_prefix="FLUX_TABLE_")

    listen: str = Field(
        default="127.0.0.1:50062",
        description="Address and port to serve gRPC on; port 0 takes a free one.",
    )
    data_folder: Path = Field(description="Where the DuckDB file is kept; made if it is not there.")
    auth_public_key_file: Path = Field(
        description="PEM Ed25519 public key that auth_service's own token is signed with."
    )
    auth_address: str = Field(default="127.0.0.1:50061", description="Where auth_service listens.")
    client_secret_file: Path = Field(description="Secret of the service account table.")
    memory_limit: str = Field(
        default="1GB", pattern=_SIZE, description="How much memory DuckDB may use."
    )
    memory_beyond_limit: str = Field(
        default="3GB",
        pattern=_SIZE,
        description="How much memory the process may have beside that; a query that wants more fails.",
    )
    spill_limit: str = Field(
        default="10GB", pattern=_SIZE, description="How much disk DuckDB may use beside the file."
    )
    threads: int = Field(default=2, ge=1, le=256, description="How many threads DuckDB uses.")
    reader_threads: int = Field(default=4, ge=1, le=64, description="How many reads run at once.")
    bulk_threads: int = Field(
        default=2, ge=1, le=16, description="How many imports and dataset creations run at once."
    )
    query_threads: int = Field(default=8, ge=1, le=64, description="How many queries run at once.")
    query_queue_max: int = Field(
        default=64,
        ge=0,
        description="How many queries wait for their turn, of one caller or of all; more are refused.",
    )
    queries_per_caller_max: int = Field(
        default=4, ge=1, le=64, description="How many queries of one caller run at once."
    )
    query_timeout_s: float = Field(
        default=300.0, gt=0, description="How long a query, or making a dataset, may take."
    )
    result_rows_max: int = Field(
        default=1_000_000, ge=1, description="How many rows a query returns at the most."
    )
    result_bytes_max: int = Field(
        default=256 * 1024 * 1024, ge=1024, description="How large the result of a query may be."
    )
    results_held_bytes_max: int = Field(
        default=1024 * 1024 * 1024,
        ge=1024,
        description="How many bytes of results may wait for their readers.",
    )
    results_held_per_caller_bytes_max: int = Field(
        default=512 * 1024 * 1024,
        ge=1024,
        description="How many bytes of one caller's results may wait for their readers.",
    )
    datasets_per_owner_max: int = Field(
        default=10_000, ge=1, description="How many datasets one owner may keep."
    )
    dataset_bytes_per_owner_max: int = Field(
        default=10 * 1024 * 1024 * 1024,
        ge=1024,
        description="How many bytes the datasets of one owner may have together.",
    )
    transfer_timeout_s: float = Field(
        default=1800.0,
        gt=0,
        description="How long DuckDB may read one file, or write a table into one.",
    )
    file_bytes_max: int = Field(
        default=10 * 1024 * 1024 * 1024,
        ge=1024,
        description="How large an imported or exported file may be.",
    )
