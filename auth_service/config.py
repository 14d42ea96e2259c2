"""The settings of auth_service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from auth_service.accounts import Registration
from chassis.config import ServiceSettings
from chassis.identity import Role


class Settings(ServiceSettings):
    """Read once from FLUX_AUTH_*."""

    model_config = SettingsConfigDict(env_prefix="FLUX_AUTH_")

    listen: str = Field(
        default="127.0.0.1:50061",
        description="Address and port to serve gRPC on; port 0 takes a free one.",
    )
    table_address: str = Field(
        default="127.0.0.1:50062", description="Where table_service listens."
    )
    bootstrap_key_file: Path = Field(
        description="PEM Ed25519 private key: signs auth's own token, seals its signing keys."
    )
    table_secret_file: Path = Field(description="Secret of the service account table.")
    workflow_secret_file: Path = Field(description="Secret of the service account workflow.")
    gateway_secret_file: Path = Field(description="Secret of the service account gateway.")
    admin_username: str = Field(
        default="admin",
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{2,63}$",
        description="Username of the admin made at the first start.",
    )
    admin_password_file: Path | None = Field(
        default=None,
        description="Password of that admin; without it one is generated and shown once.",
    )
    registration: Registration = Field(
        default=Registration.OPEN,
        description="Whether people may register themselves: open or closed.",
    )
    register_role: Role = Field(
        default=Role.VIEWER, description="Role of those who register themselves: viewer or editor."
    )
    password_cost: int = Field(
        default=12,
        ge=4,
        le=16,
        description="bcrypt cost of password hashes; each step doubles the time.",
    )
    password_threads: int = Field(
        default=2, ge=1, le=64, description="How many passwords are hashed at once."
    )
    session_lifetime_days: float = Field(
        default=30, gt=0, le=365, description="When a session ends, however often it is refreshed."
    )
    key_rotation_days: float = Field(
        default=30,
        ge=0.05,
        le=365,
        description="How long a signing key signs before the next takes over.",
    )
