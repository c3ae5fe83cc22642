"""Where an endpoint is."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """Whether it is on this very machine.

    Then the proxies of the environment (HTTP_PROXY and its kin) must not be asked for it, whatever
    NO_PROXY says: they can't reach it, or reach themselves.
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
