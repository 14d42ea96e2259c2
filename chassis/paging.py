"""Pages of a list: how many, and where to go on."""

from __future__ import annotations

import base64
import hashlib
import hmac

from chassis.faults import InvalidArgument

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000
_BINDING_BYTES = 8
_NUMBER_MAX = 2**63 - 1


def page_size(requested: int) -> int:
    """Return how many items to answer with: 0 means 50, more than 1000 becomes 1000."""
    return min(requested or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def encode_token(position: str, binding: bytes) -> str:
    """Return an opaque token for `position`, good only together with the same `binding`.

    `binding` is what else the list depends on, such as its filter. A token grants nothing: it is checked
    against mistakes, not against forgery.
    """
    digest = hashlib.sha256(binding).digest()[:_BINDING_BYTES]
    return base64.urlsafe_b64encode(digest + position.encode()).decode().rstrip("=")


def decode_token(token: str, binding: bytes) -> str:
    """Return the position in `token`; the empty token is the empty position, the start.

    Raises:
        InvalidArgument: PAGE_TOKEN_INVALID if the token is damaged or belongs to other arguments.
    """
    if not token:
        return ""
    try:
        decoded = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        digest, position = decoded[:_BINDING_BYTES], decoded[_BINDING_BYTES:].decode()
    except ValueError as error:
        raise _invalid() from error
    if not hmac.compare_digest(digest, hashlib.sha256(binding).digest()[:_BINDING_BYTES]):
        raise _invalid()
    return position


def decode_number(token: str, binding: bytes) -> int:
    """Return the position in `token` if it is a number from 0 to 2^63 - 1; the empty token is 0.

    Raises:
        InvalidArgument: PAGE_TOKEN_INVALID, also if the position is no such number.
    """
    position = decode_token(token, binding) or "0"
    if not (position.isascii() and position.isdigit() and len(position) <= len(str(_NUMBER_MAX))):
        raise _invalid()
    number = int(position)
    if number > _NUMBER_MAX:
        raise _invalid()
    return number


def _invalid() -> InvalidArgument:
    return InvalidArgument("PAGE_TOKEN_INVALID", "page_token does not belong to this request")
