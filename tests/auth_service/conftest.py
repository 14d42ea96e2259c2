"""A running auth_service for the tests that change nothing about how it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.auth_service.installation import AuthClient, Installation


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Return an installation of which nothing runs yet."""
    return Installation(folder=tmp_path)


@pytest.fixture
async def auth(installation: Installation) -> AsyncIterator[AuthClient]:
    """Yield a client of auth_service, which runs with table_service."""
    async with installation.table(), installation.auth() as client:
        yield client
