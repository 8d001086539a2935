"""The addresses that media bind to and offer."""

import ipaddress
from collections.abc import Sequence

import ifaddr

MAX_ADDRESSES = 8
"""Each is a candidate in every m-line of every description."""


def usable_addresses(configured: Sequence[str]) -> list[str]:
    """The configured addresses, checked; without any, this machine's own (loopback last, so that a
    browser on this machine finds the server even when no network is there).

    Raises: ValueError for what is not an IP address, or is one that nobody can send to."""
    if not configured:
        return _own_addresses()
    addresses = [str(ipaddress.ip_address(address.strip())) for address in configured]
    if len(addresses) > MAX_ADDRESSES:
        raise ValueError(f"more than {MAX_ADDRESSES} media addresses")
    for address in addresses:
        if ipaddress.ip_address(address).is_unspecified or ipaddress.ip_address(address).is_multicast:
            raise ValueError(f"{address} cannot be offered to clients: name the address they can reach")
    return list(dict.fromkeys(addresses))


def _own_addresses() -> list[str]:
    found: list[str] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if isinstance(ip.ip, str):
                address = ipaddress.ip_address(ip.ip)
                if not address.is_loopback and not address.is_link_local:
                    found.append(str(address))
    return [*list(dict.fromkeys(found))[: MAX_ADDRESSES - 1], "127.0.0.1"]
