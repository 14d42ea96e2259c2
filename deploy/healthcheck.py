"""Asks the service of this container whether it serves: exits 0 if it does, else 1 with the reason.

Where the service listens and whether it speaks TLS is read from the FLUX_<SERVICE>_* settings that the
service itself has; run as `python -m deploy.healthcheck`.

This runs every few seconds in every container for as long as it lives, so it imports next to nothing and
speaks the one call of gRPC's health protocol that it needs by hand: importing grpc for it kept a third of a
processor busy in four idle containers.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping

_SERVICES = ("AUTH", "TABLE", "WORKFLOW", "GATEWAY")
_TIMEOUT_S = 5.0
# HTTP/2 (RFC 9113): what a connection begins with, the frames and flags that matter here.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
_END_STREAM, _END_HEADERS = 0x1, 0x4
_STREAM = 1
# gRPC puts "not compressed" and the length before a message. The request for the whole server is empty; the
# answer is a HealthCheckResponse whose field 1 says SERVING.
_REQUEST = b"\0" + struct.pack(">I", 0)
_SERVING = b"\0" + struct.pack(">I", 2) + b"\x08\x01"


def find_prefix(environment: Mapping[str, str]) -> str:
    """Return the prefix of the settings of the one service that `environment` configures.

    Raises:
        LookupError: If it configures none or several.
    """
    configured = [name for name in _SERVICES if f"FLUX_{name}_LISTEN" in environment]
    if len(configured) != 1:
        raise LookupError(f"one FLUX_<SERVICE>_LISTEN is needed, {len(configured)} are set")
    return f"FLUX_{configured[0]}_"


def find_address(listen: str) -> tuple[str, int]:
    """Return host and port to ask a service at that listens on `listen`."""
    host, _, port = listen.rpartition(":")
    return "127.0.0.1" if host in ("0.0.0.0", "[::]") else host.strip("[]"), int(port)  # noqa: S104


def is_serving(environment: Mapping[str, str]) -> bool:
    """Return whether the service that `environment` configures says SERVING.

    Raises:
        OSError: If it does not answer.
    """
    prefix = find_prefix(environment)
    address = find_address(environment[f"{prefix}LISTEN"])
    with socket.create_connection(address, timeout=_TIMEOUT_S) as plain:
        with _secured(plain, environment, prefix) as connection:
            connection.sendall(_request())
            return _read_answer(connection) == _SERVING


def _secured(plain: socket.socket, environment: Mapping[str, str], prefix: str) -> socket.socket:
    """Return the connection with TLS if the service speaks it, else as it is."""
    certificate = environment.get(f"{prefix}TLS_CERTIFICATE_FILE")
    key = environment.get(f"{prefix}TLS_KEY_FILE")
    if not (certificate and key):
        return plain
    # Imported with TLS alone: a plain-text probe does not pay for it.
    import ssl  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The question is whether the service in this very container serves, not who vouches for it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    # For a service that asks its callers for a certificate (mTLS).
    context.load_cert_chain(
        environment.get(f"{prefix}TLS_PEER_CERTIFICATE_FILE") or certificate,
        environment.get(f"{prefix}TLS_PEER_KEY_FILE") or key,
    )
    return context.wrap_socket(plain)


def _request() -> bytes:
    """Return all that is sent: the start of the connection and one call of Health.Check."""
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    # HPACK (RFC 7541, 6.2.2): literals, neither indexed nor compressed, each shorter than 127 bytes.
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers
    )
    return b"".join(
        (
            _PREFACE,
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_HEADERS, _END_HEADERS, _STREAM, block),
            _frame(_DATA, _END_STREAM, _STREAM, _REQUEST),
        )
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame: 24 bits of length, 8 of kind, 8 of flags, 32 of stream, then the payload."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _read_answer(connection: socket.socket) -> bytes:
    """Return the bytes of the answer; fewer than a message if the call failed."""
    answer = b""
    for kind, flags, stream, payload in _read_frames(connection):
        if stream == _STREAM and kind == _DATA:
            answer += payload
        ended = stream == _STREAM and (kind == _RST_STREAM or flags & _END_STREAM)
        if kind == _GOAWAY or ended or len(answer) >= len(_SERVING):
            break
    return answer


def _read_frames(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield kind, flags, stream and payload of each frame until the other side ends the connection."""
    with connection.makefile("rb") as file:
        while len(head := file.read(9)) == 9:
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            yield kind, flags, stream, file.read(int.from_bytes(head[:3], "big"))


def main() -> int:
    """Ask, and return the exit code; the reason on standard output is what `docker inspect` shows."""
    try:
        serving = is_serving(os.environ)
    except OSError as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    if not serving:
        sys.stdout.write("not serving\n")
    return 0 if serving else 1


if __name__ == "__main__":
    sys.exit(main())
