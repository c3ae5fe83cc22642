"""Strict parsing of addresses, so that every later parser finds the same host; public addresses.

Every part must match a strict pattern, and the caller builds the address anew from the parts. An
address that two parsers could read differently is refused.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = {"http": 80, "https": 443}


class TargetRefused(ValueError):
    """Connections to this chatbot, or with these params, are not allowed. The message says what to
    do."""


def split(url: str) -> tuple[str, str, str]:
    """Scheme, host with its port, and path of an address, without a slash at the end.

    Raises:
        TargetRefused: the address is invalid. The message never repeats it: it may have a password.
    """
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > _URL_LIMIT:
        raise TargetRefused(
            "The address must be ASCII without spaces and control characters, at most "
            f"{_URL_LIMIT} characters; write other letters of a host name as xn--…."
        )
    found = _URL.fullmatch(url)
    scheme = found[1].lower() if found else ""
    if found is None or scheme not in PORTS:
        raise TargetRefused("The address must begin with https:// or http://.")
    authority, path = found[2], found[3]
    if "@" in authority:
        raise TargetRefused(
            "The address must not have a user name or password in it: put them into "
            "EVALQUEUE_CHATBOT_CREDENTIALS where the workers run."
        )
    if _PATH.fullmatch(path) is None or _DOTS.search(path):
        raise TargetRefused(
            "The address must end with a plain path: no ?, #, @, backslash, /./ or /../."
        )
    return scheme, authority, path.rstrip("/")


def host_and_port(text: str) -> tuple[str | Address, int | None]:
    """A name in lower case, or an address; and a port, if there is one.

    Raises:
        TargetRefused: it is neither, or is ambiguous.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None or not found[1]:
        raise TargetRefused(
            "A host is written as name, name:port, 192.0.2.1:port or [2001:db8::1]:port."
        )
    port = int(found[2]) if found[2] else None
    if port is not None and not 1 <= port <= _LARGEST_PORT:
        raise TargetRefused(f"A port is a number from 1 to {_LARGEST_PORT}.")
    return _host(found[1].lower()), port


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address contains and connects to, if there is one."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or address


def covers(network: Network, address: Address) -> bool:
    """Whether an address is in a network of the operator's list."""
    # Clouds serve credentials at link-local addresses, so only a link-local network includes them.
    return address in network and (network.is_link_local or not address.is_link_local)


def is_public(address: Address) -> bool:
    """Whether an address is certainly a public one."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))  # that is where it is sent on to
    if address.is_multicast or not address.is_global:
        return False
    # Addresses beyond global unicast, or that wrap an IPv4 address, may lead anywhere.
    return isinstance(address, IPv4Address) or (
        address in _GLOBAL_UNICAST and address.sixtofour is None and address.teredo is None
    )


_URL_LIMIT = 2_000  # characters
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)(.*)")
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*)*")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?=/|$)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME_LIMIT = 253
_LARGEST_PORT = 65_535
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def _host(text: str) -> str | Address:
    if text.startswith("["):
        inner = text[1:-1]
        try:
            if "%" in inner:
                raise ValueError("a zone")
            return unwrapped(IPv6Address(inner))
        except ValueError:
            raise TargetRefused("What is in brackets must be an IPv6 address, no zone.") from None
    try:
        return IPv4Address(text)
    except ValueError:
        labels = text.split(".")
    # 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 are all 127.0.0.1 to some resolvers.
    if _NUMBER.fullmatch(labels[-1]):
        raise TargetRefused("An IPv4 address is written as four decimal numbers from 0 to 255.")
    if len(text) > _NAME_LIMIT or not all(map(_LABEL.fullmatch, labels)):
        raise TargetRefused(
            "A host's name consists of letters, digits and hyphens between single dots, "
            "and does not end with a dot."
        )
    return text
