from __future__ import annotations

import pytest

from workflow_service.steps.addresses import AddressRefused, GuardedResolver, is_public


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"])
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
    ],
)
def test_this_machine_its_network_and_what_wraps_them_are_not(address: str) -> None:
    assert not is_public(address)


async def test_a_name_that_leads_home_is_refused_whatever_it_is() -> None:
    resolver = GuardedResolver(())
    for host in ("localhost", "127.1", "2130706433", "0x7f000001"):
        with pytest.raises(AddressRefused, match="not on the internet"):
            await resolver.resolve(host, 80)
    await resolver.close()


async def test_a_host_that_configuration_names_may_be_anywhere() -> None:
    resolver = GuardedResolver(["LocalHost"])
    [found, *_] = await resolver.resolve("localhost", 80)
    assert found["host"] == "127.0.0.1"
    await resolver.close()
