"""Who may connect."""

from ipaddress import ip_network

import pytest

from edge_runtime.protocol.peers import LOOPBACK, is_in


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_loopback(peer: str) -> None:
    assert is_in(peer, LOOPBACK)


@pytest.mark.parametrize("peer", ["10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "0.0.0.0"])
def test_others_are_not(peer: str) -> None:
    assert not is_in(peer, LOOPBACK)


def test_networks_and_addresses() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("192.168.0.7"), ip_network("fe80::/10"))
    assert is_in("10.1.2.3", allowed)
    assert is_in("192.168.0.7", allowed)
    assert is_in("fe80::1%eth0", allowed)
    assert not is_in("192.168.0.8", allowed)
    assert not is_in("10.2.0.1", allowed)
    assert not is_in("10.1.2.3", ())
