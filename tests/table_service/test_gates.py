"""Gates of tables: together or alone, in the order of asking, and never left shut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chassis.faults import Aborted
from table_service.store.gates import Gates


def held(gates: Gates, table_id: str = "t") -> tuple[asyncio.Event, asyncio.Task[str]]:
    """Return what ends, once set, work that has a table to itself, and the work."""
    end = asyncio.Event()

    async def work() -> str:
        await end.wait()
        return "done"

    return end, asyncio.create_task(gates.run_alone(table_id, work))


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_bulk_work_shares_and_a_migration_does_not() -> None:
    gates = Gates()
    first, second = await gates.enter("t"), await gates.enter("t")
    end, alone = held(gates)
    end.set()
    await turns()
    assert not alone.done()
    # Whoever comes later waits for who asked before.
    third = asyncio.create_task(gates.enter("t"))
    await turns()
    assert not third.done()
    other_end, other = held(gates, "u")
    other_end.set()
    assert await other == "done"
    first()
    second()
    assert await alone == "done"
    (await third)()
    assert not gates._gates  # no gate is kept that nobody needs


async def test_who_waits_too_long_is_told_and_forgotten() -> None:
    gates = Gates(alone_wait_s=0.01, shared_wait_s=0.01)
    leave = await gates.enter("t")

    async def nothing() -> None:
        return

    with pytest.raises(Aborted) as raised:
        await gates.run_alone("t", nothing)
    assert raised.value.reason == "TABLE_BUSY"
    leave()
    end, alone = held(gates)
    await turns()
    with pytest.raises(Aborted):
        await gates.enter("t")
    end.set()
    assert await alone == "done"
    (await gates.enter("t"))()
    assert not gates._gates  # no gate is kept that nobody needs


async def test_work_goes_on_and_keeps_its_table_when_its_caller_has_gone() -> None:
    gates = Gates()
    end, alone = held(gates)
    await turns()
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    entering = asyncio.create_task(gates.enter("t"))
    await turns()
    assert not entering.done()
    end.set()
    (await entering)()


@pytest.mark.parametrize("when", ["waiting", "admitted"])
async def test_who_is_cancelled_holds_nobody_up(when: str) -> None:
    gates = Gates()
    end, alone = held(gates)
    await turns()
    entering = asyncio.create_task(gates.enter("t"))
    last = asyncio.create_task(gates.enter("t"))
    await turns()
    if when == "admitted":
        end.set()
        # Until it is let in, and has not heard of it yet.
        for _ in range(100):
            if gates._gates["t"].inside:
                break
            await turns(1)
    entering.cancel()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await alone
    (await last)()
    await free(gates)


async def free(gates: Gates) -> None:
    async def nothing() -> str:
        return "free"

    assert await gates.run_alone("t", nothing) == "free"
    assert not gates._gates  # no gate is kept that nobody needs


async def test_failed_work_opens_the_gate() -> None:
    gates = Gates()

    async def fails() -> None:
        raise Aborted("ETAG_MISMATCH", "no")

    work: Callable[[], Awaitable[None]] = fails
    with pytest.raises(Aborted):
        await gates.run_alone("t", work)
    await free(gates)
