"""Issued tokens verify anywhere; forged ones open nothing here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auth_service.keys import read_private_key
from tests.auth_service.installation import AuthClient, Installation, reason_of


async def test_published_keys_verify_what_was_issued_with_any_jwt_library(
    auth: AuthClient, installation: Installation
) -> None:
    login = await auth.login()
    token = login.tokens.access_token
    published = await auth.jwks()
    assert len(published.keys) == 2
    assert published.max_age.ToTimedelta() == timedelta(minutes=5)
    jwk = published.keys[0]
    keys = jwt.PyJWKSet.from_dict(
        {
            "keys": [
                {field.name: value for field, value in key.ListFields()} for key in published.keys
            ]
        }
    )
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": jwk.kid}
    claims = jwt.decode(
        token,
        keys[jwk.kid].key,
        algorithms=["EdDSA"],
        audience="flux",
        issuer="flux",
        options={"verify_exp": False, "verify_iat": False},
    )
    now = int(installation.clock.now().timestamp())
    assert (claims["sub"], claims["kind"], claims["roles"]) == (login.user.id, "person", ["admin"])
    assert (claims["iat"], claims["exp"]) == (now, now + 600)
    assert claims["sid"] == login.tokens.refresh_token.split(".")[0]
    assert "admin" not in {claims["sub"], claims["sid"], claims["jti"]}


async def test_no_two_tokens_have_one_id(auth: AuthClient) -> None:
    tokens = [(await auth.login()).tokens.access_token for _ in range(5)]
    ids = {jwt.decode(token, options={"verify_signature": False})["jti"] for token in tokens}
    assert len(ids) == 5


Forge = Callable[[dict[str, object], dict[str, object], bytes], str]
FOREIGN = Ed25519PrivateKey.generate()


def unsigned(header: dict[str, object], claims: dict[str, object], _public: bytes) -> str:
    parts = (json.dumps(part).encode() for part in (header | {"alg": "none"}, claims))
    encoded = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return ".".join((*encoded, ""))


def signed_with_the_public_key(
    header: dict[str, object], claims: dict[str, object], public: bytes
) -> str:
    return jwt.encode(claims, public, algorithm="HS256", headers=header | {"alg": "HS256"})


def signed_with_a_foreign_key(
    header: dict[str, object], claims: dict[str, object], _public: bytes
) -> str:
    return jwt.encode(claims, FOREIGN, algorithm="EdDSA", headers=header)


def signed_under_an_unknown_kid(
    header: dict[str, object], claims: dict[str, object], _public: bytes
) -> str:
    return jwt.encode(claims, FOREIGN, algorithm="EdDSA", headers=header | {"kid": "key_x"})


def with_its_key_in_the_header(
    header: dict[str, object], claims: dict[str, object], _public: bytes
) -> str:
    x = base64.urlsafe_b64encode(FOREIGN.public_key().public_bytes_raw()).rstrip(b"=").decode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": x}
    return jwt.encode(claims, FOREIGN, algorithm="EdDSA", headers=header | {"jwk": jwk})


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        signed_with_the_public_key,
        signed_with_a_foreign_key,
        signed_under_an_unknown_kid,
        with_its_key_in_the_header,
    ],
)
async def test_forged_tokens_are_refused(auth: AuthClient, forge: Forge) -> None:
    token = (await auth.login()).tokens.access_token
    header: dict[str, object] = jwt.get_unverified_header(token)
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    x = (await auth.jwks()).keys[0].x
    forged = forge(header, claims, base64.urlsafe_b64decode(x + "="))
    assert await reason_of(auth.current_user(forged)) == "TOKEN_INVALID"
    assert await reason_of(auth.logout(forged)) == "TOKEN_INVALID"


async def test_a_refresh_token_and_the_bootstrap_key_open_nothing_here(
    auth: AuthClient, installation: Installation
) -> None:
    tokens = (await auth.login()).tokens
    assert await reason_of(auth.current_user(tokens.refresh_token)) == "TOKEN_INVALID"
    bootstrap = installation.bootstrap_token()
    assert await reason_of(auth.current_user(bootstrap)) == "TOKEN_INVALID"
    claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
    key = read_private_key(installation.files.bootstrap_key.read_bytes())
    headers = {"typ": "at+jwt", "kid": "bootstrap"}
    forged = jwt.encode(claims, key, algorithm="EdDSA", headers=headers)
    assert await reason_of(auth.current_user(forged)) == "TOKEN_INVALID"


async def test_one_changed_character_spoils_a_token(auth: AuthClient) -> None:
    token = (await auth.login()).tokens.access_token
    head, payload, signature = token.split(".")
    for spoiled in (
        f"{head}.{payload}.",
        f"{head}.{payload[:-2]}.{signature}",
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{token}.{signature}",
        "x" * 5000,
    ):
        assert await reason_of(auth.current_user(spoiled)) == "TOKEN_INVALID"
    await auth.current_user(token)


async def test_what_needs_a_token_is_refused_without_one(auth: AuthClient) -> None:
    assert await reason_of(auth.current_user("")) == "TOKEN_MISSING"
    assert await reason_of(auth.logout("")) == "TOKEN_MISSING"
    assert await reason_of(auth.exchange("usr_1", "")) == "TOKEN_MISSING"
