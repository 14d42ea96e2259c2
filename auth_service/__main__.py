"""auth_service as a process: makes everything once, and closes it in order."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auth_service import accounts, keys, passwords
from auth_service.authority import Authority, Rules
from auth_service.bootstrap_tokens import SERVICE_NAME, BootstrapTokens
from auth_service.claims import ACCESS_LIFETIME
from auth_service.config import Settings
from auth_service.hashing import Hashing
from auth_service.keyring import Keyring
from auth_service.revocation_feed import RevocationFeed
from auth_service.servicer import AuthServicer
from auth_service.store import Store
from auth_service.throttle import Policy, Throttle
from auth_service.upkeep import FirstAdmin, Upkeep
from chassis.background import Background
from chassis.client import Peer, connect, peer_tls
from chassis.clock import Clock, SystemClock
from chassis.config import read_secret, read_settings
from chassis.ids import IdMaker
from chassis.log import configure
from chassis.revocations import Revocations
from chassis.server import RunningServer, Servicer, run_until_signalled, serve
from chassis.tables import Tables
from chassis.tokens import TokenVerifier
from flux.auth.v1 import auth_service_pb2_grpc


@asynccontextmanager
async def open_service(
    settings: Settings,
    clock: Clock = SystemClock(),  # noqa: B008  # it holds nothing and opens nothing
    *,
    when_broken: Callable[[], None] = lambda: None,
) -> AsyncIterator[RunningServer]:
    """Yield the service once its port listens; its health tells when table_service has answered.

    `when_broken` is called when the service cannot go on; closing it then raises why.
    """
    bootstrap = keys.read_private_key(settings.bootstrap_key_file.read_bytes())
    first_admin = _first_admin(settings)
    ids, keyring, revocations = IdMaker(clock), Keyring(), Revocations(clock)
    feed, ready = RevocationFeed(revocations), asyncio.Event()
    async with AsyncExitStack() as stack:
        store = _open_store(stack, settings, bootstrap, clock, ids)
        hashing = Hashing(cost=settings.password_cost, threads=settings.password_threads)
        stack.callback(hashing.close)
        authority = Authority(
            rules=_rules(settings),
            store=store,
            keyring=keyring,
            hashing=hashing,
            throttle=Throttle(Policy()),
            feed=feed,
            secret_hashes=_secret_hashes(settings),
            dummy_hash=await hashing.hash(passwords.generate_password()),
            clock=clock,
            ids=ids,
            random_bytes=os.urandom,
        )
        upkeep = Upkeep(
            store=store,
            keyring=keyring,
            feed=feed,
            rotation=_rotation(settings),
            clock=clock,
            ids=ids,
        )
        verifier = TokenVerifier(
            keys=keyring, issuer=settings.token_issuer, clock=clock, revocations=revocations
        )
        servicers = [_servicer(AuthServicer(authority, ready))]
        background = Background(when_broken)
        stack.push_async_callback(background.close)
        running = await stack.enter_async_context(
            serve(settings, servicers=servicers, verifier=verifier, clock=clock)
        )
        # Closed before the server drains: it would wait for the watches.
        stack.callback(feed.close)

        async def work() -> None:
            await upkeep.get_ready(authority, first_admin)
            ready.set()
            await running.set_serving(True)
            await upkeep.keep_up()

        background.start(work())
        yield running


def _open_store(
    stack: AsyncExitStack,
    settings: Settings,
    bootstrap: Ed25519PrivateKey,
    clock: Clock,
    ids: IdMaker,
) -> Store:
    """Return the store on a channel to table_service that `stack` closes."""
    channel = connect(
        settings.table_address,
        message_bytes_max=settings.message_bytes_max,
        tls=peer_tls(settings),
    )
    stack.push_async_callback(channel.close)
    tokens = BootstrapTokens(
        private_key=bootstrap, issuer=settings.token_issuer, clock=clock, ids=ids
    )
    peer = Peer(name="table_service", channel=channel, tokens=tokens)
    return Store(
        Tables(peer, SERVICE_NAME),
        sealing=keys.sealing_key(bootstrap),
        random_bytes=os.urandom,
    )


def _servicer(implementation: AuthServicer) -> Servicer:
    return Servicer(
        name="flux.auth.v1.AuthService",
        implementation=implementation,
        register=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        issuer=settings.token_issuer,
        registration=settings.registration,
        register_role=settings.register_role,
        session_lifetime=timedelta(days=settings.session_lifetime_days),
    )


def _rotation(settings: Settings) -> keys.Rotation:
    age = timedelta(days=settings.key_rotation_days)
    return keys.Rotation(age=age, token_lifetime=ACCESS_LIFETIME)


def _secret_hashes(settings: Settings) -> dict[str, bytes]:
    files = {
        "table": settings.table_secret_file,
        "workflow": settings.workflow_secret_file,
        "gateway": settings.gateway_secret_file,
    }
    return {name: accounts.secret_hash(read_secret(file)) for name, file in files.items()}


def _first_admin(settings: Settings) -> FirstAdmin:
    """Return the configured admin, or one with a password that is shown when it comes to that.

    Raises:
        InvalidArgument: PASSWORD_INVALID if the configured password breaks a rule.
    """
    username, file = settings.admin_username, settings.admin_password_file
    if file is None:
        # Cached: tried again, it is the same password, shown already.
        return FirstAdmin(
            username=username, password=passwords.generate_password(), show=cache(_show)
        )
    password = read_secret(file)
    passwords.check_password(password, username=username)
    return FirstAdmin(username=username, password=password, show=_keep_silent)


def _show(username: str, password: str) -> None:
    """Tell the operator the one secret that is made here; on standard output, so never in the log."""
    sys.stdout.write(
        f'FluxEngine admin: username "{username}", password "{password}" (shown only this once)\n'
    )
    sys.stdout.flush()


def _keep_silent(_username: str, _password: str) -> None:
    """Show nothing: the operator chose the password."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = read_settings(Settings)
    configure(SERVICE_NAME, settings.log_level)
    run_until_signalled(lambda stop: open_service(settings, when_broken=stop))


if __name__ == "__main__":
    main()
