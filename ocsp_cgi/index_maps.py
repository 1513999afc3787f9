"""The maps of indexes that a process keeps in memory, and how they are made anew when an index has
changed.

    index changed ─▶ short: mapped within the request
                  └▶ long:  another process maps it ─▶ file, see sidecar.py ─▶ read by each process

Until there is a map, the index is searched, as it is where there is no place for the file, or the
map cannot be made.  So a map only ever saves time, and no request waits for one.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time

from . import failure, index_file, index_map, limits, map_file, map_writer, sidecar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO

    from .config import CASettings
    from .index_map import IndexMap
    from .index_search import Found


class IndexMaps:
    """The maps of all indexes of a process, for all its threads."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def find(self, ca: CASettings, serial_numbers: set[int]) -> Found | None:
        """What a search of the CA's index would find of these serial numbers; None if it has to be
        searched.

        DatabaseUnavailable if the index cannot be read.
        """
        known = self._known.get(ca.db)
        if known is None:
            known = self._known.setdefault(ca.db, _Known())
        return index_file.read(ca.db, lambda file: known.find(file, ca, serial_numbers))

    def keep_only(self, dbs: set[str]) -> None:
        """Forget the maps of all other indexes."""
        for db in set(self._known) - dbs:
            self._known.pop(db, None)


class _Known:
    """What a process knows of one index: its map, and the process that makes the next one."""

    def __init__(self) -> None:
        self._map: IndexMap | None = None
        self._renewing = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._child_for = b""  # the fingerprint of the index then
        self._child_started = self._not_before = 0.0  # each a time.monotonic()

    def find(self, file: FileIO, ca: CASettings, serial_numbers: set[int]) -> Found | None:
        of = os.fstat(file.fileno())
        if index_file.may_be_a_mixture(str(file.name), of):
            return None
        known = self._map
        if known is None or known.fingerprint != index_file.fingerprint(of):
            known = self._renew(file, of, ca)
        return None if known is None else known.find(file, serial_numbers)

    def _renew(self, file: FileIO, of: os.stat_result, ca: CASettings) -> IndexMap | None:
        """The map of the open index, if there is one, or it can be made at once.

        One thread at a time sees to that, and the others search.
        """
        if time.monotonic() < self._not_before or not self._renewing.acquire(blocking=False):
            return None
        try:
            if of.st_size <= limits.MAPPED_AT_ONCE_BYTES:
                made = index_map.make(file)
            else:
                made = self._read(of, ca)
                path = sidecar.may_be_written(ca, of)
                if made is None and path:
                    self._start_child(sidecar.absolute(str(file.name)), of, path)
            if made is not None:
                self._map = made
            return made
        except OSError:
            return None
        except Exception as error:  # out of memory, perhaps, and a search takes none
            self._not_before = time.monotonic() + limits.MAP_RETRY_SECONDS
            map_writer.warn(str(file.name), failure.explain(error))
            return None
        finally:
            self._renewing.release()

    def _read(self, of: os.stat_result, ca: CASettings) -> IndexMap | None:
        """The map of the index with this stat, if it is in a file."""
        for path in sidecar.paths(ca):
            try:
                descriptor = map_file.open_map(path, of)
            except OSError:
                continue
            try:
                fingerprint = map_file.MapFile(descriptor).fingerprint
                if fingerprint == index_file.fingerprint(of):
                    self._map = None  # whose memory the new one needs
                    return index_map.read(descriptor)
            except (OSError, map_file.Corrupt):
                pass
            finally:
                os.close(descriptor)
        return None

    def _start_child(self, index: str, of: os.stat_result, path: str) -> None:
        """Start the process that writes a new map, unless it runs already, or has left none for
        this state of the index."""
        if self._child is not None and self._child.poll() is None:
            return
        fingerprint = index_file.fingerprint(of)
        if fingerprint != self._child_for:
            self._child_for = fingerprint
        elif time.monotonic() < self._child_started + limits.MAP_RETRY_SECONDS:
            return
        self._child_started = time.monotonic()
        command = sidecar.command(index, path)
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            map_writer.warn(index, f"{command[0]}: {error.strerror}")
