"""The gateway's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceSettings


class Settings(ServiceSettings):
    """Settings of the gateway, from FLUX_GATEWAY_*."""

    model_config = SettingsConfigDict(env_prefix="FLUX_GATEWAY_", frozen=True, extra="forbid")

    listen: str = Field(
        default="127.0.0.1:50051",
        description="Address and port to serve gRPC on; port 0 takes a free one.",
    )
    auth_address: str = Field(
        default="127.0.0.1:50061", description="Where auth_service is, which serves flux.auth."
    )
    table_address: str = Field(
        default="127.0.0.1:50062", description="Where table_service is, which serves flux.table."
    )
    workflow_address: str = Field(
        default="127.0.0.1:50063",
        description="Where workflow_service is, which serves flux.workflow.",
    )
    client_secret_file: Path = Field(
        description="File with the secret of the service account gateway, as auth_service has it."
    )
    caller_calls_max: int = Field(
        default=1024, ge=1, description="How many calls of one person are served at once."
    )
    connection_streams_max: int = Field(
        default=1024, ge=1, description="How many calls one connection may carry at once."
    )
