"""The keys and secrets that an installation is configured with, each in a file of its own.

Run as `python -m deploy.secret_files FOLDER` to make them for containers.
"""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFiles:
    """The files, as the settings of the four services name them."""

    bootstrap_key: Path
    auth_public_key: Path
    admin_password: Path
    table: Path
    workflow: Path
    gateway: Path


def secret_files(folder: Path) -> SecretFiles:
    """Return where the files of an installation stand, whether they are there or not."""
    return SecretFiles(
        bootstrap_key=folder / "bootstrap_key.pem",
        auth_public_key=folder / "auth_public_key.pem",
        admin_password=folder / "admin_password",
        table=folder / "table_secret",
        workflow=folder / "workflow_secret",
        gateway=folder / "gateway_secret",
    )


def make_secret_files(folder: Path) -> SecretFiles:
    """Make the files that are missing, readable by their owner alone, and return where they stand."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = secret_files(folder)
    if not files.bootstrap_key.exists():
        _write(files.bootstrap_key, _private_pem(Ed25519PrivateKey.generate()))
    if not files.auth_public_key.exists():
        # By itself: whoever was stopped between the two must not be left with a key that nobody believes.
        _write(files.auth_public_key, _public_pem(files.bootstrap_key.read_bytes()))
    for path in (files.admin_password, files.table, files.workflow, files.gateway):
        if not path.exists():
            _write(path, secrets.token_urlsafe(24).encode())
    return files


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public_pem(private_pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(private_pem, password=None)
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _write(path: Path, content: bytes) -> None:
    """Write a new file that nobody else could read at any moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    made = make_secret_files(Path(sys.argv[1]))
    sys.stdout.write(f"secrets in {made.admin_password.parent}\n")
