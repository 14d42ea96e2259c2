"""The secrets of an installation under test, with a password that the test knows."""

from __future__ import annotations

from pathlib import Path

from deploy.secret_files import SecretFiles, secret_files
from deploy.secret_files import make_secret_files as make_random_secret_files

ADMIN_PASSWORD = "correct horse battery staple"

__all__ = ["ADMIN_PASSWORD", "SecretFiles", "make_secret_files"]


def make_secret_files(folder: Path) -> SecretFiles:
    """Make new secrets in `folder`; the admin's password is ADMIN_PASSWORD."""
    folder.mkdir(parents=True, exist_ok=True)
    secret_files(folder).admin_password.write_text(ADMIN_PASSWORD, encoding="utf-8")
    return make_random_secret_files(folder)
