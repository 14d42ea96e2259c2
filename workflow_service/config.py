"""The settings of workflow_service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceSettings


class Settings(ServiceSettings):
    """Read once from FLUX_WORKFLOW_*."""

    model_config = SettingsConfigDict(env_prefix="FLUX_WORKFLOW_")

    listen: str = Field(
        default="127.0.0.1:50063",
        description="Address and port to serve gRPC on; port 0 takes a free one.",
    )
    auth_address: str = Field(default="127.0.0.1:50061", description="Where auth_service listens.")
    table_address: str = Field(
        default="127.0.0.1:50062", description="Where table_service listens."
    )
    client_secret_file: Path = Field(description="Secret of the service account workflow.")
    active_runs_max: int = Field(
        default=100_000, ge=1, description="How many runs may be active; more are refused."
    )
    concurrent_steps_max: int = Field(
        default=64, ge=1, description="How many steps with effects are done at once; more wait."
    )
    dataset_lifetime_hours: float = Field(
        default=24,
        gt=0,
        le=720,
        description="How long the datasets that steps make are kept.",
    )
    heartbeat_s: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="How often a watch of a quiet run gives a sign of life.",
    )
    http_allow_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts on private networks that HTTP steps may call, as a JSON list.",
    )
