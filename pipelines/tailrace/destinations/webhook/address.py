"""Refuses addresses inside a network: a header must not reach what only this machine can reach."""

from __future__ import annotations

import ipaddress

from tailrace.config.urls import LOOPBACK_HOSTS
from tailrace.errors import PrivateAddress

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address
# Global unicast (RFC 4291). Addresses outside of it may carry an IPv4 address, such as ::10.0.0.1,
# or belong to a site, such as fec0::1.
_INTERNET = ipaddress.IPv6Network("2000::/3")
# IPv6 prefixes whose last four bytes are an IPv4 address: NAT64 (RFC 6052, RFC 8215).
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet.

    >>> [is_public(a) for a in ("8.8.8.8", "10.0.0.1", "169.254.169.254", "100.64.0.1")]
    [True, False, False, False]
    >>> [is_public(a) for a in ("::1", "::ffff:10.0.0.1", "fe80::1%eth0", "64:ff9b::a00:1")]
    [False, False, False, False]
    >>> [is_public(a) for a in ("2606:4700::1111", "::10.0.0.1", "::ffff:0:10.0.0.1", "fec0::1")]
    [True, False, False, False]
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_is_of_internet(one) for one in _meant(ip))


def _is_of_internet(ip: _IPv4 | _IPv6) -> bool:
    return ip.is_global and not ip.is_multicast and (isinstance(ip, _IPv4) or ip in _INTERNET)


def _meant(ip: _IPv4 | _IPv6) -> list[_IPv4 | _IPv6]:
    """The address, and the IPv4 addresses that it carries."""
    if isinstance(ip, _IPv4):
        return [ip]
    inner: list[_IPv4 | _IPv6] = []
    if ip.ipv4_mapped is not None:
        # Python judges the mapped form by itself.
        return [ip.ipv4_mapped]
    if ip.sixtofour is not None:
        inner.append(ip.sixtofour)
    if ip.teredo is not None:
        inner += ip.teredo
    if any(ip in network for network in _NAT64):
        inner.append(_IPv4(int(ip) & 0xFFFF_FFFF))
        # The prefix itself is not global, although it leads to public addresses.
        return inner
    return [ip, *inner]


class AddressRule:
    """Decides which addresses one destination may be connected to.

    Args:
        section: The section of the configuration, for the message.
        private_addresses: Its setting.
    """

    def __init__(self, section: str, *, private_addresses: bool) -> None:
        self._section = section
        self._private_addresses = private_addresses

    def check(self, host: str, address: str) -> None:
        """Refuse an address that is not public.

        A URL with this machine's own name or address is allowed, and no other name for it.

        Raises:
            PrivateAddress: The address is not public, and the setting does not allow it.
        """
        if self._private_addresses or host.strip("[]") in LOOPBACK_HOSTS or is_public(address):
            return
        shown = address if host.strip("[]") == address else f"{host}, with the address {address},"
        raise PrivateAddress(
            f"{self._section}.url leads into a private network: {shown} is not public",
            hint=f"Correct url. If the receiver is inside your network, set private_addresses = "
            f"true under [{self._section}].",
            key=f"{self._section}.url",
        )
