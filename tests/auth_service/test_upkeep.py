"""What auth_service does by itself."""

from __future__ import annotations

import os
from datetime import timedelta

from auth_service.claims import ACCESS_LIFETIME
from auth_service.keyring import Keyring
from auth_service.keys import Rotation
from auth_service.revocation_feed import RevocationFeed
from auth_service.store import Store
from auth_service.upkeep import Upkeep
from chassis.ids import IdMaker
from chassis.revocations import Revocations
from tests.auth_service.installation import Installation


async def test_keys_whose_turn_has_not_come_are_left_as_they_are(
    installation: Installation,
) -> None:
    clock, keyring = installation.clock, Keyring()
    async with (
        installation.table(),
        installation.auth_tables(installation.bootstrap_token()) as tables,
    ):
        store = Store(tables, sealing=b"s" * 32, random_bytes=os.urandom)
        await store.prepare()
        upkeep = Upkeep(
            store=store,
            keyring=keyring,
            feed=RevocationFeed(Revocations(clock)),
            rotation=Rotation(age=timedelta(minutes=5), token_lifetime=ACCESS_LIFETIME),
            clock=clock,
            ids=IdMaker(clock),
        )
        await upkeep.turn_keys()
        first = keyring.known()
        await upkeep.turn_keys()
        assert keyring.known() is first
        clock.advance(timedelta(minutes=5))
        await upkeep.turn_keys()
        assert keyring.known() is not first
