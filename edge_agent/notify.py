"""Tells systemd how the service does (sd_notify(3)): a datagram to the socket that NOTIFY_SOCKET names.

Without systemd every function here does nothing.
"""

from __future__ import annotations

import os
import socket
import time

_DEFAULT_INTERVAL_S = 0.5


def ready() -> None:
    """Say that the service is up, or up again after a reload."""
    _send("READY=1")


def reloading() -> None:
    """Say that configuration is being read anew; `ready` ends it."""
    _send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping() -> None:
    """Say that the service is on its way down."""
    _send("STOPPING=1")


def alive() -> None:
    """Feed the watchdog."""
    _send("WATCHDOG=1")


def interval_s() -> float:
    """Return how often `alive` should be called: a third of what systemd allows, at most half a second."""
    allowed = os.environ.get("WATCHDOG_USEC", "")
    return min(_DEFAULT_INTERVAL_S, int(allowed) / 3e6) if allowed.isdigit() and int(allowed) else _DEFAULT_INTERVAL_S


def _send(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        try:
            client.sendto(state.encode(), address)
        except OSError:
            return  # systemd not listening must not stop the service
