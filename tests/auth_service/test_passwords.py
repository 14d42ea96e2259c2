"""Password rules and hashes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth_service import passwords
from chassis.faults import InvalidArgument

COST = 4


def _passes(password: str) -> bool:
    try:
        passwords.check_password(password, username="somebody else")
    except InvalidArgument:
        return False
    return True


acceptable = st.text(st.characters(codec="utf-8"), min_size=12, max_size=18).filter(_passes)


def rules_broken_by(password: str, username: str = "ada") -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        passwords.check_password(password, username=username)
    assert caught.value.reason == "PASSWORD_INVALID"
    return [violation.description for violation in caught.value.violations]


@settings(max_examples=40, deadline=None)
@given(acceptable)
def test_a_hash_matches_its_password_and_hides_it(password: str) -> None:
    kept = passwords.hash_password(password, COST)
    assert passwords.matches(password, kept)
    assert password not in kept


@settings(max_examples=40, deadline=None)
@given(acceptable, acceptable)
def test_a_hash_matches_no_other_password(one: str, other: str) -> None:
    assert passwords.matches(other, passwords.hash_password(one, COST)) == (
        passwords._normal(one) == passwords._normal(other)
    )


def test_both_spellings_of_an_accent_are_one_password() -> None:
    composed, decomposed = "caf\u00e9 au lait noir", "cafe\u0301 au lait noir"
    assert passwords.matches(decomposed, passwords.hash_password(composed, COST))


def test_what_bcrypt_would_ignore_is_refused_and_never_matches() -> None:
    kept = passwords.hash_password("a" * 72, COST)
    assert rules_broken_by("a" * 73) == ["the password is longer than 72 bytes"]
    assert not passwords.matches("a" * 73, kept)


def test_bytes_count_and_not_characters() -> None:
    assert rules_broken_by("\u20ac" * 25) == ["the password is longer than 72 bytes"]
    passwords.check_password("\u20ac" * 24, username="ada")


def test_all_broken_rules_come_together_without_the_password() -> None:
    assert rules_broken_by("Ada", username="ada") == [
        "the password is shorter than 12 characters",
        "the password is the username",
    ]


def test_username_in_other_case_is_no_password() -> None:
    assert rules_broken_by("ADA.LOVELACE.1815", username="ada.lovelace.1815") == [
        "the password is the username"
    ]


def test_a_hash_of_another_cost_is_outdated() -> None:
    kept = passwords.hash_password("correct horse battery", 4)
    assert passwords.is_outdated(kept, 5)
    assert not passwords.is_outdated(kept, 4)


def test_generated_passwords_pass_the_rules_and_differ() -> None:
    generated = {passwords.generate_password() for _ in range(100)}
    assert len(generated) == 100
    for password in generated:
        passwords.check_password(password, username="admin")
