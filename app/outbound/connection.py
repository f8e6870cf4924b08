"""Connections to where users say: checked address by address, and over by a moment that nobody can put off."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from app.domain.addresses import is_public

Resolve = Callable[[str, int], Sequence[str]]
"""A host's addresses, for a port. Raises OSError."""


class PrivateAddress(Exception):
    """The host is, or may be, within a network of one's own."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Each of them once, in the system's order. A number in whatever form (`127.1`, `0x7f000001`) is an address."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_private_number(host: str) -> bool:
    """Whether the host is an address, in whatever form, and not a public one. Asks no name server."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return not all(is_public(str(address[0])) for *_, address in found)


class Network(httpcore.NetworkBackend):
    """One conversation. The name is resolved once, and what was checked is what is connected to: another answer of its
    name server a moment later changes nothing. Host header and certificate remain those of the name.

    Raises, beside httpcore's own:
        PrivateAddress: one of the addresses is not public, unless `private` ones may be called.
    """

    def __init__(self, *, within_s: float, private: bool, resolve: Resolve = resolve) -> None:
        self._end = time.monotonic() + within_s
        self._private = private
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError("its name is not known") from exc
        if not self._private and not all(is_public(address) for address in addresses):
            raise PrivateAddress
        fault: Exception = httpcore.ConnectError("its name has no address")
        for address in addresses:
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address, port, self.left_s(), local_address, socket_options or ()
                )
                return _Bounded(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                fault = exc
        raise fault

    def left_s(self) -> float:
        """Raises httpcore.ReadTimeout when nothing is left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("its time is over")
        return left


class _Bounded(httpcore.NetworkStream):
    """A stream whose every step has only what is left: one byte a second keeps nobody waiting."""

    def __init__(self, stream: httpcore.NetworkStream, network: Network) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.left_s())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._network.left_s())
        return _Bounded(secured, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
