"""What keeps the cloud on this machine: who may call it, and whom it may call."""

import functools
import ipaddress
import sys
from collections.abc import Mapping

from infra.cloud.errors import CloudError


@functools.lru_cache(maxsize=1024)  # asked for every request, of a handful of names
def is_loopback(host: str) -> bool:
    """Whether a host name or address, without its port, can only mean this machine.

    `*.localhost` is loopback by RFC 6761; S3 clients use it for virtual-hosted buckets.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str:
    """The host of a Host header: `127.0.0.1:4577` and `[::1]:4577` lose their port."""
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]


def refusal(headers: Mapping[str, str]) -> str | None:
    """Why a request must not be answered, or None.

    A web page can make a browser send requests to loopback; a Host header that is not loopback is a page whose name was
    re-bound to this address, and an Origin (or a cross-site fetch) is any page at all. No AWS client sends these.
    """
    host = headers.get("Host", "")
    if not is_loopback(host_of(host)):
        return f"Host {host!r} is not a loopback name: the embedded cloud answers this machine only"
    origin = headers.get("Origin")
    if origin is not None:
        return f"Origin {origin!r} refused: the embedded cloud does not answer web pages"
    site = headers.get("Sec-Fetch-Site", "none")
    if site != "none":
        return f"Sec-Fetch-Site {site!r} refused: the embedded cloud does not answer web pages"
    return None


def require_loopback(host: str) -> None:
    """Refuse an address to listen on that other machines could reach.

    Raises:
        CloudError: the address is not loopback.
    """
    if not is_loopback(host) or not host.strip("[]").replace(".", "").replace(":", "").isalnum():
        raise CloudError(f"cannot listen on {host}: the embedded cloud has no authentication; use 127.0.0.1")


class OffMachineError(OSError):
    """Something in this process tried to reach another machine."""


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "localhost"  # a path: a Unix socket
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host and not is_loopback(str(host)):
        raise OffMachineError(f"the embedded cloud reaches only this machine, not {host}")


def stay_on_this_machine() -> None:
    """Make every connection of this process to another machine fail, for good.

    moto delivers SNS messages over HTTP, resolves hosts and reads instance metadata; none of it may leave a rehearsal.
    """
    sys.addaudithook(_audit)
