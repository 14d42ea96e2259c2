"""No secret reaches the log, standard output or a table in the clear."""

from __future__ import annotations

import re

import pytest

from chassis.clock import SystemClock
from tests.auth_service.installation import PASSWORD, AuthClient, Installation, reason_of
from tests.support.secret_files import ADMIN_PASSWORD

MAIN = "from auth_service.__main__ import main; main()"
BROKEN = f"""
from auth_service import passwords
def matches(password, password_hash):
    raise RuntimeError("a bug with a password at hand")
passwords.matches = matches
{MAIN}
"""


async def use_everything(auth: AuthClient, installation: Installation) -> list[str]:
    """Go through every kind of secret once and return them all."""
    await auth.register("ada")
    tokens = (await auth.login("ada", PASSWORD)).tokens
    second = await auth.refresh(tokens.refresh_token)
    await reason_of(auth.refresh(tokens.refresh_token))
    await reason_of(auth.login(PASSWORD[:20], "guess"))
    await reason_of(auth.login("admin", "a guess that is wrong"))
    await reason_of(auth.register("bob", "bobs password is " + "x" * 60))
    workflow = await auth.service_token("workflow", installation.secret("workflow"))
    admin = (await auth.login()).tokens
    await reason_of(auth.exchange("usr_nobody", workflow))
    await auth.logout(admin.access_token)
    await reason_of(auth.current_user("not-a-token-at-all"))
    pairs = (tokens, second, admin)
    return [
        PASSWORD,
        PASSWORD[:20],
        ADMIN_PASSWORD,
        "a guess that is wrong",
        "bobs password is",
        "not-a-token-at-all",
        workflow,
        *(installation.secret(name) for name in ("table", "workflow", "gateway")),
        *(pair.access_token.rpartition(".")[2] for pair in pairs),
        *(part for pair in pairs for part in pair.refresh_token.split(".")[1:]),
    ]


async def test_no_secret_is_logged_or_shown(installation: Installation) -> None:
    async with (
        installation.table(SystemClock()),
        installation.auth_process(MAIN) as (auth, output),
    ):
        secrets = await use_everything(auth, installation)
    written = output.read_text(encoding="utf-8")
    assert '"session.opened"' in written
    assert [secret for secret in secrets if secret in written] == []


async def test_not_even_a_bug_logs_the_password_at_hand(installation: Installation) -> None:
    async with (
        installation.table(SystemClock()),
        installation.auth_process(BROKEN) as (auth, output),
    ):
        with pytest.raises(Exception, match="INTERNAL"):
            await auth.login("ada", PASSWORD)
    written = output.read_text(encoding="utf-8")
    assert "a bug with a password at hand" in written
    assert PASSWORD not in written


async def test_tables_hold_no_secret_that_can_be_used(installation: Installation) -> None:
    async with installation.table():
        async with installation.auth() as auth:
            await auth.register("ada")
            tokens = (await auth.login("ada", PASSWORD)).tokens
        async with installation.auth_tables(installation.bootstrap_token()) as tables:
            rows = {
                name: await tables.list_rows(name) for name in ("users", "sessions", "signing_keys")
            }
    assert all(rows.values())
    assert all(re.match(r"\$2b\$04\$", str(row.values["password_hash"])) for row in rows["users"])
    assert all(len(bytes_of(row.values["sealed_key"])) == 60 for row in rows["signing_keys"])
    everything = repr(rows)
    for secret in (PASSWORD, ADMIN_PASSWORD, *tokens.refresh_token.split(".")[1:]):
        assert secret not in everything


def bytes_of(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


async def test_nobody_but_auth_service_reads_its_tables(installation: Installation) -> None:
    async with installation.table(), installation.auth() as auth:
        admin = (await auth.login()).tokens.access_token
        workflow = await auth.service_token("workflow", installation.secret("workflow"))
        for token in (admin, workflow):
            async with installation.auth_tables(token) as tables:
                for name in ("users", "sessions", "signing_keys"):
                    assert await reason_of(tables.list_rows(name)) in (
                        "NAMESPACE_CLOSED",
                        "TABLE_NOT_FOUND",
                    )
