"""A token that was good is refused everywhere once its time is over, also past the gateway."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from chassis.faults import Unauthenticated
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flux.table.v1 import table_service_pb2, table_service_pb2_grpc
from flux.workflow.v1 import run_service_pb2, run_service_pb2_grpc
from tests.support.clock import ManualClock
from tests.support.harness import Stack, open_stack


async def call_every_service(stack: Stack, token: str) -> list[str]:
    """Call each service directly, and table_service through the gateway; return why each refused."""
    reasons = []
    for server in (stack.auth, stack.table, stack.workflow, stack.gateway):
        peer = stack.peer(server, token)
        try:
            if server is stack.auth:
                await peer.call(
                    auth_service_pb2_grpc.AuthServiceStub(peer.channel).GetCurrentUser,
                    auth_service_pb2.GetCurrentUserRequest(),
                )
            elif server is stack.workflow:
                await peer.call(
                    run_service_pb2_grpc.RunServiceStub(peer.channel).ListRuns,
                    run_service_pb2.ListRunsRequest(),
                )
            else:
                await peer.call(
                    table_service_pb2_grpc.TableServiceStub(peer.channel).ListTables,
                    table_service_pb2.ListTablesRequest(),
                )
        except Unauthenticated as fault:
            reasons.append(fault.reason)
    return reasons


@pytest.mark.parametrize("minutes", [9, 11])
async def test_token_is_good_for_ten_minutes_at_every_service(tmp_path: Path, minutes: int) -> None:
    clock = ManualClock()
    async with open_stack(tmp_path, with_workflow=True, with_gateway=True, clock=clock) as stack:
        token = await stack.login()
        assert await call_every_service(stack, token) == []
        clock.advance(timedelta(minutes=minutes))
        expected = ["TOKEN_EXPIRED"] * 4 if minutes > 10 else []
        assert await call_every_service(stack, token) == expected
