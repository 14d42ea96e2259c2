"""Service accounts, and acting for people."""

from __future__ import annotations

from datetime import timedelta

import jwt
import pytest

from chassis.tables import Update
from tests.auth_service.installation import AuthClient, Installation, reason_of


def claims_of(token: str) -> dict[str, object]:
    payload: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return payload


@pytest.mark.parametrize("client_id", ["table", "workflow", "gateway"])
async def test_a_service_gets_its_token_for_its_secret(
    auth: AuthClient, installation: Installation, client_id: str
) -> None:
    claims = claims_of(await auth.service_token(client_id, installation.secret(client_id)))
    assert (claims["sub"], claims["kind"], claims["roles"]) == (client_id, "service", [])


@pytest.mark.parametrize(
    ("client_id", "secret_of"),
    [("workflow", "table"), ("auth", "table"), ("nobody", "table"), ("admin", "admin_password")],
)
async def test_no_other_secret_will_do(
    auth: AuthClient, installation: Installation, client_id: str, secret_of: str
) -> None:
    secret = installation.secret(secret_of)
    assert await reason_of(auth.service_token(client_id, secret)) == "CREDENTIALS_INVALID"


async def test_workflow_acts_for_a_person_after_their_logout(
    auth: AuthClient, installation: Installation
) -> None:
    user = await auth.register("ada")
    login = await auth.login("ada", "a password that is long enough")
    await auth.logout(login.tokens.access_token)
    workflow = await auth.service_token("workflow", installation.secret("workflow"))
    token = await auth.exchange(user.id, workflow)
    claims = claims_of(token)
    assert (claims["sub"], claims["kind"], claims["roles"]) == (user.id, "person", ["viewer"])
    assert claims["act"] == {"sub": "workflow"}
    assert await auth.current_user(token) == user
    installation.clock.advance(timedelta(minutes=10))
    assert await reason_of(auth.current_user(token)) == "TOKEN_EXPIRED"


async def test_only_workflow_may_act_for_people(
    auth: AuthClient, installation: Installation
) -> None:
    admin = await auth.login()
    person = admin.tokens.access_token
    assert await reason_of(auth.exchange(admin.user.id, person)) == "ROLE_REQUIRED"
    for name in ("table", "gateway"):
        service = await auth.service_token(name, installation.secret(name))
        assert await reason_of(auth.exchange(admin.user.id, service)) == "ROLE_REQUIRED"
    workflow = await auth.service_token("workflow", installation.secret("workflow"))
    acting = await auth.exchange(admin.user.id, workflow)
    assert await reason_of(auth.exchange(admin.user.id, acting)) == "ROLE_REQUIRED"


async def test_nobody_acts_for_a_user_who_is_not_there(
    auth: AuthClient, installation: Installation
) -> None:
    workflow = await auth.service_token("workflow", installation.secret("workflow"))
    for user_id in ("usr_nobody", "workflow", "admin"):
        assert await reason_of(auth.exchange(user_id, workflow)) == "USER_NOT_FOUND"


async def test_disabling_and_promoting_reach_what_runs_for_a_person(
    auth: AuthClient, installation: Installation
) -> None:
    user = await auth.register("ada")
    tokens = (await auth.login("ada", "a password that is long enough")).tokens
    workflow = await auth.service_token("workflow", installation.secret("workflow"))

    async def change(**values: object) -> None:
        async with installation.auth_tables(installation.bootstrap_token()) as tables:
            (row,) = await tables.list_rows("users", filter="id = $id", parameters={"id": user.id})
            await tables.transact(Update(table="users", row_id=row.row_id, values=values))

    await change(role="editor")
    assert claims_of(await auth.exchange(user.id, workflow))["roles"] == ["editor"]
    await change(disabled=True)
    assert await reason_of(auth.exchange(user.id, workflow)) == "USER_NOT_FOUND"
    assert await reason_of(auth.current_user(tokens.access_token)) == "USER_NOT_FOUND"
    login = auth.login("ada", "a password that is long enough")
    assert await reason_of(login) == "CREDENTIALS_INVALID"
    assert await reason_of(auth.refresh(tokens.refresh_token)) == "TOKEN_REVOKED"


async def test_a_service_is_no_user_and_its_logout_ends_nothing(
    auth: AuthClient, installation: Installation
) -> None:
    token = await auth.service_token("table", installation.secret("table"))
    assert await reason_of(auth.current_user(token)) == "USER_NOT_FOUND"
    await auth.logout(token)
    assert await reason_of(auth.current_user(token)) == "USER_NOT_FOUND"
