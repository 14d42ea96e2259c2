"""Keys take turns without a gap, and lie sealed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from auth_service import keys
from auth_service.claims import ACCESS_LIFETIME, Issue, service_claims
from auth_service.keys import KeyState, Rotation, SigningKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROTATION = Rotation(age=timedelta(days=30), token_lifetime=ACCESS_LIFETIME)
NONCE = bytes(range(12))


def makers() -> Iterator[SigningKey]:
    return (keys.new_signing_key(f"key_{number}", NOW) for number in count(1))


def states(turned: tuple[SigningKey, ...]) -> dict[str, str]:
    return {key.kid: key.state.value for key in turned}


def test_the_first_start_makes_a_current_and_a_next_key() -> None:
    turned = keys.turn_keys((), ROTATION, NOW, makers().__next__)
    assert states(turned) == {"key_1": "current", "key_2": "next"}


def test_rotation_promotes_the_key_that_everybody_knows_already() -> None:
    fresh = makers().__next__
    first = keys.turn_keys((), ROTATION, NOW, fresh)
    assert (
        keys.turn_keys(first, ROTATION, NOW + ROTATION.age - timedelta(seconds=1), fresh) == first
    )
    later = NOW + ROTATION.age
    second = keys.turn_keys(first, ROTATION, later, fresh)
    assert states(second) == {"key_2": "current", "key_3": "next", "key_1": "retired"}
    rested = later + ACCESS_LIFETIME + timedelta(minutes=1)
    assert states(keys.turn_keys(second, ROTATION, rested - timedelta(seconds=1), fresh)) == states(
        second
    )
    assert states(keys.turn_keys(second, ROTATION, rested, fresh)) == {
        "key_2": "current",
        "key_3": "next",
    }


def test_a_lost_current_key_is_replaced_by_the_next() -> None:
    fresh = makers().__next__
    _, following = keys.turn_keys((), ROTATION, NOW, fresh)
    assert states(keys.turn_keys((following,), ROTATION, NOW, fresh)) == {
        "key_2": "current",
        "key_3": "next",
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.timedeltas(timedelta(0), timedelta(days=45)), max_size=12))
def test_every_valid_token_can_be_verified_at_any_moment(gaps: list[timedelta]) -> None:
    fresh = makers().__next__
    now, turned = NOW, keys.turn_keys((), ROTATION, NOW, fresh)
    for gap in gaps:
        # A token is signed just before the keys turn.
        now += gap
        signed_with = keys.current_key(turned).kid
        turned = keys.turn_keys(turned, ROTATION, now, fresh)
        assert [key.state for key in turned][:2] == [KeyState.CURRENT, KeyState.NEXT]
        assert {key.state for key in turned[2:]} <= {KeyState.RETIRED}
        assert signed_with in states(turned)
        assert keys.turn_keys(turned, ROTATION, now, fresh) == turned
        just_before_expiry = now + ACCESS_LIFETIME - timedelta(microseconds=1)
        assert signed_with in states(keys.turn_keys(turned, ROTATION, just_before_expiry, fresh))


def test_sealed_keys_open_only_with_the_same_bootstrap_key_and_kid() -> None:
    bootstrap = Ed25519PrivateKey.generate()
    sealing = keys.sealing_key(bootstrap)
    key = keys.new_signing_key("key_1", NOW)
    sealed = keys.seal(key, sealing, NONCE)
    private = key.private_key.private_bytes_raw()
    opened = keys.unseal("key_1", sealed, keys.sealing_key(bootstrap))
    assert opened is not None
    assert opened.private_bytes_raw() == private
    assert private not in sealed
    assert keys.unseal("key_2", sealed, sealing) is None
    assert keys.unseal("key_1", sealed, keys.sealing_key(Ed25519PrivateKey.generate())) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(min_value=0, max_value=59), st.integers(min_value=1, max_value=255))
def test_one_changed_byte_makes_a_sealed_key_unreadable(position: int, flip: int) -> None:
    sealing = keys.sealing_key(Ed25519PrivateKey.generate())
    sealed = bytearray(keys.seal(keys.new_signing_key("key_1", NOW), sealing, NONCE))
    assert len(sealed) == 60
    sealed[position] ^= flip
    assert keys.unseal("key_1", bytes(sealed), sealing) is None


@given(st.binary(max_size=80))
def test_garbage_is_no_sealed_key(garbage: bytes) -> None:
    assert keys.unseal("key_1", garbage, bytes(32)) is None


def test_a_token_says_what_it_is_in_its_header() -> None:
    key = keys.new_signing_key("key_1", NOW)
    claims = service_claims(Issue(issuer="flux", time=NOW, token_id="tok_1"), "table")
    token = keys.sign_token(claims, key.private_key, key.kid)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt", "kid": "key_1"}
    x = keys.public_x(key.private_key)
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))
    payload = jwt.decode(
        token, public, algorithms=["EdDSA"], audience="flux", options={"verify_exp": False}
    )
    assert payload["sub"] == "table"


def test_only_ed25519_is_read_from_pem() -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert keys.read_private_key(pem).private_bytes_raw() == private.private_bytes_raw()
    other = generate_private_key(SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="must be Ed25519"):
        keys.read_private_key(pem)


def test_keys_do_not_print_their_secret() -> None:
    key = replace(keys.new_signing_key("key_1", NOW), state=KeyState.CURRENT)
    assert key.private_key.private_bytes_raw().hex() not in repr(key)
