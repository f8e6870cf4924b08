"""Which network addresses belong to the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses of IPv4, for hosts that have IPv6 only."""


def is_public(text: str) -> bool:
    """Whether it is an address in the open, and not of this machine, of a network of one's own or of a cloud's inside.

    An IPv6 address that stands for one of IPv4 is as public as that. Text that is no address is not public.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_in_the_open(each) for each in (address, *_meant(address)))


def _in_the_open(address: IPv4Address | IPv6Address) -> bool:
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    if isinstance(address, IPv6Address):
        if address in NAT64 or address.ipv4_mapped:
            # Reserved as such, and judged by what they stand for.
            return True
        # 6to4 is given up (RFC 7526), and versions of Python differ in what they say of it.
        special = special or address.is_site_local or address.sixtofour is not None
    return address.is_global and not special


def _meant(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """The addresses of IPv4 within one of IPv6."""
    if isinstance(address, IPv4Address):
        return ()
    if address in NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    found = (address.ipv4_mapped, *(address.teredo or ()))
    return tuple(each for each in found if each is not None)
