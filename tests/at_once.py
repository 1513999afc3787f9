"""What goes on at once, in threads, until the time is over or something is wrong."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable


class AtOnce:
    """A thread that finds something wrong leaves its traceback in `failures`, and sets `stop`, at
    which all end."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.stop = threading.Event()

    def let_work(self, seconds: float, *works: tuple) -> None:
        """Call each of these functions, given with its arguments, in a thread of its own, and wait
        until all have ended."""
        threads = [threading.Thread(target=self._watched, args=work) for work in works]
        for thread in threads:
            thread.start()
        self.stop.wait(seconds)
        self.stop.set()
        for thread in threads:
            thread.join()

    def _watched(self, work: Callable, *arguments: object) -> None:
        try:
            work(*arguments)
        except Exception:
            self.failures.append(traceback.format_exc())
            self.stop.set()
