"""The probe of a container against real servers: plain text, TLS and mTLS."""

from __future__ import annotations

import datetime
import ipaddress
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy.healthcheck import find_address, find_prefix, is_serving

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(
    *, status: int | None, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Run a server with standard health, or none where `status` is None, and give its address."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    if status is not None:
        servicer = health.HealthServicer()
        servicer.set("", status)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def probe(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the probe as a container does."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.healthcheck"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_serving_service_is_healthy_and_another_says_why_not() -> None:
    with serving(status=health_pb2.HealthCheckResponse.SERVING) as address:
        assert probe({"FLUX_TABLE_LISTEN": address}).returncode == 0
    gone = probe({"FLUX_TABLE_LISTEN": address})
    assert gone.returncode == 1
    assert gone.stdout.startswith("no answer: ")
    with serving(status=health_pb2.HealthCheckResponse.NOT_SERVING) as address:
        waiting = probe({"FLUX_AUTH_LISTEN": address})
    assert (waiting.returncode, waiting.stdout) == (1, "not serving\n")


def test_server_without_health_is_not_serving() -> None:
    with serving(status=None) as address:
        assert not is_serving({"FLUX_TABLE_LISTEN": address})


def test_port_on_every_address_is_asked_on_loopback() -> None:
    assert find_address("0.0.0.0:50051") == find_address("[::]:50051") == ("127.0.0.1", 50051)
    assert find_address("[::1]:50051") == ("::1", 50051)


@pytest.mark.parametrize(
    "environment", [{}, {"FLUX_TABLE_LISTEN": "a:1", "FLUX_AUTH_LISTEN": "b:2"}], ids=["no", "two"]
)
def test_probe_wants_exactly_one_service(environment: dict[str, str]) -> None:
    with pytest.raises(LookupError, match="one FLUX_<SERVICE>_LISTEN is needed"):
        find_prefix(environment)


@pytest.mark.parametrize("asks_for_certificate", [False, True], ids=["tls", "mtls"])
def test_tls_port_is_asked_with_the_certificate_of_the_service(
    tmp_path: Path, asks_for_certificate: bool
) -> None:
    authority = make_certificates(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())],
        authority if asks_for_certificate else None,
        require_client_auth=asks_for_certificate,
    )
    with serving(status=health_pb2.HealthCheckResponse.SERVING, credentials=credentials) as address:
        tls = {
            "FLUX_TABLE_TLS_CERTIFICATE_FILE": str(certificate),
            "FLUX_TABLE_TLS_KEY_FILE": str(key),
        }
        assert is_serving({"FLUX_TABLE_LISTEN": address, **tls})
        assert probe({"FLUX_TABLE_LISTEN": address}).returncode == 1


def make_certificates(folder: Path) -> bytes:
    """Write certificate.pem and key.pem, signed by an authority of its own, and return that authority's."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate(
        "authority", authority_key, "authority", authority_key, is_authority=True
    )
    certificate = _certificate("table", key, "authority", authority_key, is_authority=False)
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return authority


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> bytes:
    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

    names = [x509.DNSName(subject), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]
    made = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made)
        .not_valid_after(made + datetime.timedelta(days=365 * 100))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    signed = builder.sign(issuer_key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)
