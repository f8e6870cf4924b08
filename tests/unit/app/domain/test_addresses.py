"""What is public, and what only looks like it."""

from __future__ import annotations

import pytest

from app.domain.addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1"),
        *("2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
        # IPv4 within: 6to4, NAT64, Teredo (the server, and the client with its bits turned over).
        *(
            "2002:7f00:1::",
            "2002:a00:1::",
            "2002:808:808::",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2001:0:7f00:1::1",
        ),
        *("2001:0:808:808::80ff:fffe", "", "localhost", "1.2.3", "8.8.8.8:80"),
    ],
)
def test_what_is_not_in_the_open_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "::ffff:8.8.8.8",
     "64:ff9b::808:808"],
)  # fmt: skip
def test_what_is_in_the_open_is_not(address: str) -> None:
    assert is_public(address)
