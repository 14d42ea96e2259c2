"""Starting in any order, restarting, and the first admin."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auth_service.config import Settings
from chassis.faults import InvalidArgument
from tests.auth_service.installation import PASSWORD, AuthClient, Installation, reason_of
from tests.support.harness import wait_until_serving
from tests.support.secret_files import ADMIN_PASSWORD, make_secret_files


async def health_of(auth: AuthClient) -> int:
    async with grpc.aio.insecure_channel(auth.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        return int(answer.status)


async def test_it_starts_before_table_service_and_waits(installation: Installation) -> None:
    async with installation.auth(wait=False) as auth:
        assert await health_of(auth) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await reason_of(auth.login()) == "NEIGHBOUR_UNAVAILABLE"
        assert await reason_of(auth.jwks()) == "KEYS_UNAVAILABLE"
        assert await reason_of(auth.current_user("any token")) == "TOKEN_INVALID"
        async with installation.table():
            await wait_until_serving(auth.address)
            await auth.login()


async def test_a_restart_keeps_people_sessions_and_keys(installation: Installation) -> None:
    async with installation.table():
        async with installation.auth() as auth:
            user = await auth.register("ada")
            tokens = (await auth.login("ada", PASSWORD)).tokens
            keys = (await auth.jwks()).keys
        async with installation.auth() as auth:
            assert await auth.current_user(tokens.access_token) == user
            await auth.refresh(tokens.refresh_token)
            assert (await auth.jwks()).keys == keys


async def test_a_restart_of_both_keeps_what_was_acknowledged(installation: Installation) -> None:
    async with installation.table(), installation.auth() as auth:
        user = await auth.register("ada")
        tokens = (await auth.login("ada", PASSWORD)).tokens
    async with installation.auth(wait=False) as auth, installation.table():
        await wait_until_serving(auth.address)
        assert await auth.current_user(tokens.access_token) == user
        await auth.refresh(tokens.refresh_token)


async def test_a_restart_of_table_service_alone_is_survived(installation: Installation) -> None:
    async with installation.auth(wait=False) as auth:
        async with installation.table():
            await wait_until_serving(auth.address)
            tokens = (await auth.login()).tokens
        assert await reason_of(auth.login()) == "NEIGHBOUR_UNAVAILABLE"
        async with installation.table():
            await wait_until_serving(installation.table_address)
            # The write waits for the neighbour instead of spending the token for nothing.
            await auth.refresh(tokens.refresh_token)


async def test_revocations_survive_a_restart(installation: Installation) -> None:
    async with installation.table():
        async with installation.auth() as auth:
            tokens = (await auth.login()).tokens
            await auth.logout(tokens.access_token)
        async with installation.auth() as auth:
            assert await reason_of(auth.current_user(tokens.access_token)) == "TOKEN_REVOKED"
            service = await auth.service_token("gateway", installation.secret("gateway"))
            (revoked,) = (await anext(auth.watch(service))).revocations
            assert revoked.session_id == tokens.refresh_token.split(".")[0]


async def test_old_keys_take_turns_and_tokens_stay_valid(installation: Installation) -> None:
    async with installation.table():
        async with installation.auth() as auth:
            first = [key.kid for key in (await auth.jwks()).keys]
            installation.clock.advance(timedelta(days=30, seconds=-1))
            token = (await auth.login()).tokens.access_token
        installation.clock.advance(timedelta(seconds=1))
        async with installation.auth() as auth:
            second = [key.kid for key in (await auth.jwks()).keys]
            assert second[0] == first[1]
            assert second[2] == first[0]
            await auth.current_user(token)
        installation.clock.advance(timedelta(minutes=11))
        async with installation.auth() as auth:
            assert [key.kid for key in (await auth.jwks()).keys] == second[:2]


async def test_keys_sealed_with_another_bootstrap_key_are_replaced(
    installation: Installation, tmp_path: Path
) -> None:
    async with installation.table(), installation.auth() as auth:
        tokens = (await auth.login()).tokens
        old = {key.kid for key in (await auth.jwks()).keys}
    other = make_secret_files(tmp_path / "other")
    shutil.copy(other.bootstrap_key, installation.files.bootstrap_key)
    shutil.copy(other.auth_public_key, installation.files.auth_public_key)
    async with installation.table(), installation.auth() as auth:
        assert old.isdisjoint({key.kid for key in (await auth.jwks()).keys})
        assert await reason_of(auth.current_user(tokens.access_token)) == "TOKEN_INVALID"
        # The session is not the key's: whoever has its refresh token goes on.
        renewed = await auth.refresh(tokens.refresh_token)
        await auth.current_user(renewed.access_token)


async def test_a_generated_admin_password_is_shown_once_and_works(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    async with installation.table():
        async with installation.auth(admin_password_file=None, admin_username="root"):
            shown = capfd.readouterr()
        (line,) = [line for line in shown.out.splitlines() if line.startswith("FluxEngine admin")]
        match = re.fullmatch(
            r'FluxEngine admin: username "root", password "(.+)" \(shown only this once\)', line
        )
        assert match is not None
        assert match[1] not in shown.err
        async with installation.auth(admin_password_file=None, admin_username="root") as auth:
            assert (await auth.login("root", match[1])).user.username == "root"
        again = capfd.readouterr()
        assert match[1] not in again.out + again.err
        assert "FluxEngine admin" not in again.out


async def test_an_admin_password_that_changes_later_is_not_applied(
    installation: Installation,
) -> None:
    async with installation.table():
        async with installation.auth():
            pass
        installation.files.admin_password.write_text("another fine password", encoding="utf-8")
        async with installation.auth() as auth:
            await auth.login("admin", ADMIN_PASSWORD)


async def test_a_weak_admin_password_stops_the_start(installation: Installation) -> None:
    installation.files.admin_password.write_text("weak", encoding="utf-8")
    with pytest.raises(InvalidArgument, match="shorter than 12"):
        async with installation.auth(wait=False):
            pass


def test_settings_come_from_the_environment(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("table", "workflow", "gateway"):
        path = getattr(installation.files, name)
        monkeypatch.setenv(f"FLUX_AUTH_{name.upper()}_SECRET_FILE", str(path))
    monkeypatch.setenv("FLUX_AUTH_BOOTSTRAP_KEY_FILE", str(installation.files.bootstrap_key))
    settings = Settings()  # type: ignore[call-arg]  # the environment has the rest
    assert settings.listen == "127.0.0.1:50061"
    assert settings.password_cost == 12
