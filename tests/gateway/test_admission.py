"""Who may call what through the gateway."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.gateway.door import Door, failure, reason
from tests.support.waiting import eventually

ROLES = ("viewer", "editor", "admin")
ADMITTED = {
    "Open": ROLES,
    "Known": ROLES,
    "Say": ROLES,
    "Edit": ("editor", "admin"),
    "Rule": ("admin",),
}


async def say(door: Door, token: str, method: str = "Say") -> bytes:
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    return await door.unary(method)(b"x", metadata=metadata)


@pytest.mark.parametrize("method", ADMITTED)
@pytest.mark.parametrize("role", ROLES)
async def test_roles_admit_what_the_contract_says(door: Door, method: str, role: str) -> None:
    token = door.auth.token(roles=[role])
    if role in ADMITTED[method]:
        assert await say(door, token, method) == b"x"
    else:
        error = await failure(say(door, token, method))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert reason(error) == "ROLE_REQUIRED"


async def test_public_method_needs_no_token_and_minds_no_bad_one(door: Door) -> None:
    assert await say(door, "", "Open") == b"x"
    assert await say(door, "nonsense", "Open") == b"x"


@pytest.mark.parametrize("method", ["Inside", "Unmarked", "NoSuchMethod"])
@pytest.mark.parametrize("role", ["", "admin"])
async def test_methods_for_services_look_like_methods_that_are_not(
    door: Door, method: str, role: str
) -> None:
    token = door.auth.token(roles=[role]) if role else ""
    error = await failure(say(door, token, method))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason(error) == "METHOD_UNKNOWN"


async def test_unknown_method_is_refused_in_every_shape_without_a_message(door: Door) -> None:
    call = door.both_stream("/no.such.Service/Chat")()
    error = await failure(call.read())
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason(error) == "METHOD_UNKNOWN"


async def test_unknown_method_of_a_standard_service_is_refused_too(door: Door) -> None:
    error = await failure(door.unary("/grpc.channelz.v1.Channelz/GetServers")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason(error) == "METHOD_UNKNOWN"


async def test_service_is_refused(door: Door) -> None:
    error = await failure(say(door, door.auth.token(sub="table", kind="service", roles=[])))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason(error) == "ROLE_REQUIRED"


def _unsigned(door: Door) -> str:
    header, claims, _signature = door.auth.token().split(".")
    none = base64.urlsafe_b64encode(json.dumps({"typ": "at+jwt", "alg": "none"}).encode())
    return f"{none.rstrip(b'=').decode()}.{claims}." if header else ""


def _signed_with_the_public_key(door: Door) -> str:
    import jwt  # noqa: PLC0415

    raw = door.auth.key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    _header, claims, _signature = door.auth.token().split(".")
    payload = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return jwt.encode(
        payload, raw + b"\0" * 8, algorithm="HS256", headers={"typ": "at+jwt", "kid": "k1"}
    )


WRONG: dict[str, Any] = {
    "garbage": lambda _door: "garbage",
    "unsigned": _unsigned,
    "hmac with the public key": _signed_with_the_public_key,
    "foreign key": lambda door: door.auth.token(key=Ed25519PrivateKey.generate()),
    "unknown key id": lambda door: door.auth.token(headers={"kid": "k9"}),
    "wrong type": lambda door: door.auth.token(headers={"typ": "JWT"}),
    "wrong audience": lambda door: door.auth.token(aud="else"),
    "wrong issuer": lambda door: door.auth.token(iss="else"),
    "no role": lambda door: door.auth.token(roles=[]),
    "unknown kind": lambda door: door.auth.token(kind="daemon"),
    "altered": lambda door: door.auth.token()[:-8] + "AAAAAAAA",
    "too long": lambda door: door.auth.token(pad="x" * 5000),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_wrong_token_is_refused_without_a_word_on_why(door: Door, kind: str) -> None:
    called = False

    async def note(request: bytes, _context: object) -> bytes:
        nonlocal called
        called = True
        return request

    door.echo.behaviours["Say"] = note
    error = await failure(say(door, WRONG[kind](door)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (reason(error), error.details()) == ("TOKEN_INVALID", "the token is not valid")
    assert not called


async def test_missing_and_expired_tokens_are_told_apart(door: Door) -> None:
    missing = await failure(say(door, ""))
    expired = await failure(say(door, door.auth.token(exp=int(time.time()) - 1)))
    assert {missing.code(), expired.code()} == {grpc.StatusCode.UNAUTHENTICATED}
    assert (reason(missing), reason(expired)) == ("TOKEN_MISSING", "TOKEN_EXPIRED")


async def test_other_scheme_is_no_token(door: Door) -> None:
    metadata = (("authorization", "Basic YTpi"),)
    error = await failure(door.unary("Say")(b"", metadata=metadata))
    assert reason(error) == "TOKEN_MISSING"


async def test_revoked_session_is_refused_soon(door: Door) -> None:
    token, other = door.auth.token(sid="ses_gone"), door.auth.token(sid="ses_stays")
    assert await say(door, token) == b"x"
    await door.auth.revoked.put("ses_gone")

    async def refused() -> bool:
        try:
            await say(door, token)
        except grpc.aio.AioRpcError as error:
            return reason(error) == "TOKEN_REVOKED"
        return False

    await eventually(refused)
    assert await say(door, other) == b"x"
