"""Page sizes and page tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import InvalidArgument
from chassis.paging import decode_number, decode_token, encode_token, page_size


@pytest.mark.parametrize(
    ("requested", "given_size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_page_size_has_a_default_and_a_cap(requested: int, given_size: int) -> None:
    assert page_size(requested) == given_size


@given(st.text(max_size=50), st.binary(max_size=50))
def test_token_gives_its_position_back(position: str, binding: bytes) -> None:
    assert decode_token(encode_token(position, binding), binding) == position


@given(st.text(min_size=1, max_size=50), st.binary(max_size=20), st.binary(max_size=20))
def test_token_of_other_arguments_is_refused(position: str, one: bytes, other: bytes) -> None:
    if one != other:
        with pytest.raises(InvalidArgument, match="does not belong"):
            decode_token(encode_token(position, one), other)


@given(st.text(min_size=1, max_size=100))
def test_invented_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_token(token, b"list")
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


def test_empty_token_is_the_start() -> None:
    assert decode_token("", b"anything") == ""
    assert decode_number("", b"anything") == 0


@given(st.integers(0, 2**63 - 1))
def test_number_comes_back(position: int) -> None:
    assert decode_number(encode_token(str(position), b"list"), b"list") == position


@pytest.mark.parametrize("forged", ["x", "-1", "1.5", "²", "1_0", " 1", str(2**63), "9" * 5000])
def test_forged_token_that_holds_no_number_is_refused(forged: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_number(encode_token(forged, b"list"), b"list")
    assert caught.value.reason == "PAGE_TOKEN_INVALID"
