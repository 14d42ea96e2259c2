"""The settings that every service has, read once from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Settings of any service; each adds its own and its prefix, such as FLUX_TABLE_."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    listen: str = Field(description="Address and port to serve gRPC on; port 0 takes a free one.")
    metrics_listen: str = Field(
        default="", description="Address and port for Prometheus metrics; empty serves none."
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="The least severe log lines to write.",
    )
    tls_certificate_file: Path | None = Field(
        default=None, description="PEM certificate chain; with tls_key_file, the port speaks TLS."
    )
    tls_key_file: Path | None = Field(
        default=None, description="PEM private key of the certificate."
    )
    tls_client_ca_file: Path | None = Field(
        default=None, description="PEM authorities; if set, clients must show a certificate (mTLS)."
    )
    tls_peer_ca_file: Path | None = Field(
        default=None,
        description="PEM authorities to trust in other services; if set, calls use TLS.",
    )
    tls_peer_certificate_file: Path | None = Field(
        default=None, description="PEM certificate chain to show to other services (mTLS)."
    )
    tls_peer_key_file: Path | None = Field(
        default=None, description="PEM private key of tls_peer_certificate_file."
    )
    drain_timeout_s: float = Field(
        default=10.0,
        ge=0,
        description="How long calls under way may take after a stop is asked for.",
    )
    deadline_default_s: float = Field(
        default=30.0, gt=0, description="Deadline of a unary call that came without one."
    )
    deadline_max_s: float = Field(
        default=300.0, gt=0, description="The longest deadline of a unary call."
    )
    stream_deadline_max_s: float = Field(
        default=3600.0, gt=0, description="The longest time a stream may take."
    )
    message_bytes_max: int = Field(
        default=16 * 1024 * 1024, ge=64 * 1024, description="The largest message taken or sent."
    )
    concurrent_calls_max: int = Field(
        default=4096, ge=1, description="How many calls are served at once; more are refused."
    )
    token_issuer: str = Field(default="flux", description="The issuer that tokens must name.")

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _has_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdigit() and int(port) < 65536):
            raise ValueError("must be host:port, such as 127.0.0.1:50051")
        return value

    @model_validator(mode="after")
    def _speaks_tls_wholly_or_not_at_all(self) -> Self:
        # Half of it would be plain text without a word.
        for needing, needed in (
            ("tls_certificate_file", "tls_key_file"),
            ("tls_key_file", "tls_certificate_file"),
            ("tls_client_ca_file", "tls_certificate_file"),
            ("tls_peer_certificate_file", "tls_peer_key_file"),
            ("tls_peer_key_file", "tls_peer_certificate_file"),
            ("tls_peer_certificate_file", "tls_peer_ca_file"),
        ):
            if getattr(self, needing) is not None and getattr(self, needed) is None:
                raise ValueError(f"{needing} needs {needed}")
        return self


Settings = TypeVar("Settings", bound=ServiceSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """Return the settings of this process from its environment.

    Raises:
        SystemExit: If a setting is missing or wrong, with one line for each that names its variable.
    """
    try:
        return kind()  # type: ignore[call-arg]  # the environment has the rest
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        lines = [
            f"{prefix}{'_'.join(str(part) for part in one['loc'] or ('*',))}".upper()
            + f": {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        ]
        raise SystemExit("\n".join(lines)) from None


def read_secret(path: Path) -> str:
    """Return the secret in a file without the white space around it.

    Raises:
        ValueError: If the file is empty.
    """
    secret = path.read_text(encoding="utf-8").strip()
    if not secret:
        raise ValueError(f"the secret file {path} is empty")
    return secret
