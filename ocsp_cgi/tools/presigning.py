"""Signs responses in advance for a whole CA, in several processes.

    index ─▶ map, in this process ─▶ parts ─▶ processes, which share the map ─▶ cache

Revoked certificates come first.  If the index changes meanwhile, all starts again with the new one,
and passes over what is fresh, so a revocation does not wait for the rest.  That is also why nothing
is lost if this is interrupted.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from io import FileIO

from .. import index_file, index_map, limits
from ..config import CASettings, Settings
from ..index_map import IndexMap
from . import index_part
from .entry import CommandError, program
from .index_part import Counts, Part
from .presigner import HASHES, Done, IndexChanged, Presigner
from .progress import Progress

_NICE = 10  # requests come first
_SHOW_SECONDS = 0.2
_MOST_TRIES = 20  # to read an index that is being replaced
_WAITING = 3  # parts of the index for each process

_presigner: Presigner  # in a process that signs


class Presigning:
    """Of one CA of the config, in so many `processes`.

    `margin` is as in a Presigner; `counts` is how many rows there were at the beginning.
    """

    def __init__(self, ca: CASettings, settings: Settings, processes: int, margin: int):
        self._ca = ca
        self._settings = settings
        self._processes = processes
        self._margin = margin
        self._at = 0.0  # where to go on, as a part of the index
        self.counts = Counts(0, 0)
        self._survey()

    def _survey(self) -> None:
        """OCSPError if the index cannot be used, or nobody may sign."""
        while True:
            index_map, self.counts = _read(self._ca)
            self._presigner = Presigner(self._ca, self._settings, index_map, self._margin)
            try:
                self._presigner.prepare()
                return
            except IndexChanged:
                pass

    @property
    def number(self) -> int:
        """How many responses there will be, about."""
        return sum(self.counts) * self._presigner.per_row

    def has_changed(self) -> bool:
        """Whether the index is another than at the end of run()."""
        try:
            index_file.read(self._ca.db, self._presigner.check)
        except IndexChanged:
            return True
        except index_file.DatabaseUnavailable:  # the next run says why
            pass
        return False

    def run(self, progress: Progress) -> Done:
        """Sign what is not fresh.  OCSPError if the index cannot be used, or nobody may sign."""
        signed = size = 0
        while True:
            done = self._pass(progress)
            done.fresh = max(0, done.fresh - signed)  # what the passes before have signed
            signed += done.signed
            size += done.bytes
            try:
                index_file.read(self._ca.db, self._presigner.check)
                if not done.is_outdated:
                    done.signed, done.bytes = signed, size
                    return done
            except IndexChanged:
                pass
            self._survey()

    def _pass(self, progress: Progress) -> Done:
        """Go through the index once, or until it changes, or nothing more can be signed."""
        size = index_file.read(self._ca.db, lambda file: os.fstat(file.fileno()).st_size)
        others = index_part.parts(size, False)
        first = int(self._at * len(others))
        parts = index_part.parts(size, True) + others[first:] + others[:first]
        done = Done()
        # Each is started at once, whether there is something to do for it or not.
        processes = max(1, min(self._processes, len(parts)))
        with _pool(processes, self._presigner) as pool:
            for part, one in _results(pool, parts, processes * _WAITING, progress, done):
                done.add(one)
                if done.stop:
                    break
                if not part.is_revoked:
                    self._at = part.start / size
        return done


@contextlib.contextmanager
def _pool(processes: int, presigner: Presigner) -> Iterator[concurrent.futures.Executor]:
    """Processes that share the map of the index with this one.

    They need semaphores, which are in /dev/shm.  Where that cannot be used, a thread signs.
    """
    pool: concurrent.futures.Executor
    try:
        pool = concurrent.futures.ProcessPoolExecutor(
            processes, multiprocessing.get_context("fork"), _begin, (presigner,)
        )
    except (OSError, ImportError):
        pool = concurrent.futures.ThreadPoolExecutor(1, "presign", _take, (presigner,))
    try:
        yield pool
    finally:  # also after Ctrl-C, each ends with the part that it has begun
        pool.shutdown(wait=True, cancel_futures=True)


def _take(presigner: Presigner) -> None:
    global _presigner
    _presigner = presigner


def _begin(presigner: Presigner) -> None:
    _take(presigner)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Else a process would wait for work for ever where its parent has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(part: Part) -> Done:
    return _presigner.work(part)


def _results(
    pool: concurrent.futures.Executor,
    parts: list[Part],
    most: int,
    progress: Progress,
    done: Done,
) -> Iterator[tuple[Part, Done]]:
    """Yield each part with what came of it; no more than `most` wait at a time.

    `done` is what the caller has added up, to show how far this is.
    """
    left = iter(parts)
    waiting: dict[concurrent.futures.Future[Done], Part] = {}
    try:
        while True:
            for part in itertools.islice(left, most - len(waiting)):
                waiting[pool.submit(_work, part)] = part
            if not waiting:
                return
            ended, _ = concurrent.futures.wait(
                waiting, _SHOW_SECONDS, concurrent.futures.FIRST_COMPLETED
            )
            for future in ended:
                yield waiting.pop(future), future.result()
            progress.show(done.signed + done.fresh + done.failed)
    except BrokenProcessPool:
        raise CommandError(
            "a process that signs was killed: is there enough memory? Run it again with fewer"
            " --processes; what has been signed stays"
        ) from None


def _read(ca: CASettings) -> tuple[IndexMap, Counts]:
    """The map of a CA's index, and how many rows it has.  OCSPError if it cannot be read."""
    since = index_part.asked_since(ca, int(time.time()))

    def read(file: FileIO) -> tuple[IndexMap, Counts] | None:
        of = os.fstat(file.fileno())
        # A response that says in which index its row is needs no search when it is asked for.
        settled = of.st_ctime + limits.DATABASE_SETTLING_SECONDS
        time.sleep(max(0.0, min(settled - time.time(), limits.DATABASE_SETTLING_SECONDS)))
        made = index_map.make(file)
        return None if made is None else (made, index_part.count(file, since))

    for _ in range(_MOST_TRIES):
        found = index_file.read(ca.db, read)
        if found is not None:
            return found
    why = index_file.read(ca.db, _why_unmapped)
    raise index_file.DatabaseUnavailable(f"{ca.db}: the index {why}")


def _why_unmapped(file: FileIO) -> str:
    of = os.fstat(file.fileno())
    if not of.st_size:
        return "is empty, so there is nothing to sign"
    if of.st_ctime > time.time() + limits.DATABASE_SETTLING_SECONDS:
        return "was written later than now: has this machine's clock been set back? `touch` it"
    return "changes all the time"


def estimate(ca: CASettings) -> int:
    """How many responses another CA has, which is not presigned now; 0 if that cannot be told."""
    since = index_part.asked_since(ca, int(time.time()))
    try:
        counts = index_file.read(ca.db, lambda file: index_part.count(file, since))
    except index_file.DatabaseUnavailable:
        return 0
    return sum(counts) * len(HASHES)


@contextlib.contextmanager
def lock(directory: str) -> Iterator[bool]:
    """Lock a `cache` against other runs; whether that was possible.

    The directory itself is locked, so nothing is left behind.  CommandError if this user cannot
    open it.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CommandError(
            f"{directory}: {error.strerror}: `cache` names it, and its owner must be able to reach"
            f" and to read it; `{program()} check` says what is in the way"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
