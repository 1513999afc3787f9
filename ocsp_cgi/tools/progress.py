"""How far a long piece of work is: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from . import labelled

_BAR = 24
_TERMINAL_SECONDS = 0.2
_LINE_SECONDS = 10
_RATE_SECONDS = 30  # over which the rate is measured


class Progress:
    """Of so many things `total`, an estimate; `label` is in front of each line.

    Silent unless there is a `stream`, which says whether it is a terminal.
    """

    def __init__(self, label: str, total: int, stream: TextIO | None):
        self._label = label
        self._total = total
        self._stream = stream
        self._is_terminal = stream is not None and stream.isatty()
        self._shown = time.monotonic()
        self._seen = [(self._shown, 0)]  # when there were how many

    def show(self, number: int) -> None:
        """So many are done."""
        now = time.monotonic()
        every = _TERMINAL_SECONDS if self._is_terminal else _LINE_SECONDS
        if self._stream is None or now < self._shown + every:
            return
        self._shown = now
        if number < self._seen[-1][1]:  # all has begun again
            self._seen = [(now, 0)]
        self._seen.append((now, number))
        while now - self._seen[1][0] > _RATE_SECONDS:
            self._seen.pop(0)
        text = f"{self._label} {self._text(number, now)}"
        if self._is_terminal:
            text = f"\r{text[: labelled.width() - 1]}\33[K"
            self._stream.write(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def end(self) -> None:
        """Remove the bar, so that other lines can follow."""
        if self._is_terminal and self._stream is not None:
            self._stream.write("\r\33[K")
            self._stream.flush()

    def _text(self, number: int, now: float) -> str:
        began, before = self._seen[0]
        rate = (number - before) / max(now - began, 0.001)
        total = max(self._total, number)
        text = f"{number} of {total}, {rate:.0f} per second"
        if rate:
            text += f", {duration((total - number) / rate)} left"
        if self._is_terminal and total:
            filled = _BAR * number // total
            text = f"[{'#' * filled}{'.' * (_BAR - filled)}] {text}"
        return text


def duration(seconds: float) -> str:
    """A span of time as people say it, such as `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def stream(is_quiet: bool) -> TextIO | None:
    return None if is_quiet else sys.stdout
