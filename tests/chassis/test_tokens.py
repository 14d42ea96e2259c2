"""Which tokens are believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.faults import Unauthenticated
from chassis.identity import PrincipalKind, Role
from chassis.revocations import Revocations
from chassis.tokens import TokenVerifier, VerificationKey
from tests.support.clock import ManualClock
from tests.support.tokens import TestKeys


class Door:
    """A verifier with its keys, clock and revocations at hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.keys = TestKeys(self.clock)
        self.revocations = Revocations(self.clock)
        self.verifier = TokenVerifier(
            keys=self.keys, issuer="flux", clock=self.clock, revocations=self.revocations
        )


@pytest.fixture
def door() -> Door:
    return Door()


async def test_good_token_names_its_principal(door: Door) -> None:
    principal = await door.verifier.verify(
        door.keys.sign(door.keys.claims(roles=["viewer", "editor"], act={"sub": "workflow"}))
    )
    assert (principal.subject, principal.kind) == ("usr_1", PrincipalKind.PERSON)
    assert (principal.role, principal.actor) == (Role.EDITOR, "workflow")


def _as_hmac_secret(keys: TestKeys) -> bytes:
    return keys.private_key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )


def _without(name: str, keys: TestKeys) -> str:
    return keys.sign(keys.claims(**{name: None}))


BAD_TOKENS: dict[str, Callable[[TestKeys], str]] = {
    "empty": lambda _keys: "",
    "not a token": lambda _keys: "a.b.c",
    "too long": lambda keys: keys.sign(keys.claims(sub="x" * 5000)),
    "unsigned": lambda keys: keys.sign(key="", algorithm="none"),
    "signature cut off": lambda keys: keys.sign().rpartition(".")[0] + ".",
    "foreign key": lambda keys: keys.sign(key=Ed25519PrivateKey.generate()),
    "public key as HMAC secret": lambda keys: keys.sign(
        key=_as_hmac_secret(keys), algorithm="HS256"
    ),
    "wrong type": lambda keys: keys.sign(typ="JWT"),
    "no type": lambda keys: keys.sign(typ=None),
    "unknown key id": lambda keys: keys.sign(kid="other"),
    "wrong issuer": lambda keys: keys.sign(keys.claims(iss="elsewhere")),
    "wrong audience": lambda keys: keys.sign(keys.claims(aud="elsewhere")),
    "issued in the future": lambda keys: keys.sign(keys.claims(iat=2**40)),
    "unknown kind": lambda keys: keys.sign(keys.claims(kind="robot")),
    "kind of another type": lambda keys: keys.sign(keys.claims(kind=["person"])),
    "person without a role": lambda keys: keys.sign(keys.claims(roles=[])),
    "service with a role": lambda keys: keys.sign(keys.claims(kind="service")),
    "roles of another type": lambda keys: keys.sign(keys.claims(roles="editor")),
    "actor of another type": lambda keys: keys.sign(keys.claims(act="workflow")),
    "empty session": lambda keys: keys.sign(keys.claims(sid="")),
    "expiry of another type": lambda keys: keys.sign(keys.claims(exp="tomorrow")),
    **{
        f"without {name}": partial(_without, name)
        for name in ("iss", "aud", "sub", "exp", "iat", "jti", "sid", "kind", "roles")
    },
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_bad_token_is_refused_without_saying_why(door: Door, name: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await door.verifier.verify(BAD_TOKENS[name](door.keys))
    assert caught.value.reason == "TOKEN_INVALID"
    assert caught.value.message == "the token is not valid"


async def test_token_expires_even_after_it_was_verified(door: Door) -> None:
    token = door.keys.sign()
    await door.verifier.verify(token)
    door.clock.advance(timedelta(minutes=10))
    with pytest.raises(Unauthenticated) as caught:
        await door.verifier.verify(token)
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_revoked_session_is_refused_even_after_it_was_verified(door: Door) -> None:
    token = door.keys.sign()
    await door.verifier.verify(token)
    door.revocations.add("ses_1", door.clock.now() + timedelta(minutes=10))
    with pytest.raises(Unauthenticated) as caught:
        await door.verifier.verify(token)
    assert caught.value.reason == "TOKEN_REVOKED"


async def test_unknown_key_is_looked_for_once(door: Door) -> None:
    with pytest.raises(Unauthenticated):
        await door.verifier.verify(door.keys.sign(kid="other"))
    assert door.keys.refreshes == 1


@pytest.mark.parametrize(
    ("changes", "believed"),
    [
        ({"sub": "auth", "kind": "service", "roles": []}, True),
        ({"sub": "workflow", "kind": "service", "roles": []}, False),
        ({"sub": "auth"}, False),
    ],
)
async def test_pinned_key_speaks_for_its_service_alone(
    changes: dict[str, object], believed: bool
) -> None:
    clock = ManualClock()
    keys = TestKeys(clock)

    class Pinned:
        def find(self, _kid: str) -> VerificationKey:
            return VerificationKey(public_key=keys.private_key.public_key(), only_service="auth")

        async def refresh(self) -> None:
            raise AssertionError("a known key is not looked for")

    verifier = TokenVerifier(
        keys=Pinned(), issuer="flux", clock=clock, revocations=Revocations(clock)
    )
    token = keys.sign(keys.claims(**changes))
    if believed:
        assert (await verifier.verify(token)).is_service("auth")
    else:
        with pytest.raises(Unauthenticated):
            await verifier.verify(token)
