"""Apache reloaded so that it finishes what it has begun, and the wait until it has."""

from __future__ import annotations

import time

from .. import limits
from ..tools import apache_process
from ..tools.apache_config import Configuration
from ..tools.entry import CommandError
from ..tools.layout import Layout

_RELOAD_SECONDS = 20  # in which Apache reads its configuration
# Apache waits no longer for a request; then the responder may take its time.
_OLD_SECONDS = 60 + limits.DEADLINE_SECONDS


def reload(layout: Layout, configuration: Configuration) -> None:
    """Reload Apache gracefully, and wait until it has read its configuration.  CommandError."""
    before = apache_process.generation(configuration)
    layout.reload(restart=False)
    deadline = time.monotonic() + _RELOAD_SECONDS
    while apache_process.generation(configuration) == before:
        if time.monotonic() > deadline:
            raise CommandError(
                f"Apache has not read its configuration in {_RELOAD_SECONDS} seconds after it"
                f" was told to (its error log: {layout.error_log})"
            )
        time.sleep(0.05)
    time.sleep(1)  # in which it would not notice that it is to read it again


def wait_for_earlier(configuration: Configuration) -> None:
    """Wait until Apache has answered what was asked before it was reloaded."""
    deadline = time.monotonic() + _OLD_SECONDS
    while apache_process.has_earlier_children(configuration):
        if time.monotonic() > deadline:
            return  # what it still sends is not a response of OCSP
        time.sleep(0.1)
