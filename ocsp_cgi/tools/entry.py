"""How every command starts and ends, and with which exit code: see EXIT_CODES.

This file and those that load it must parse under Python 2.7 too: such a Python would otherwise
complain about their syntax instead of saying that it is too old.
"""

import errno
import os
import select
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

OLDEST = (3, 9)
OK = 0
WARNING = 1
CRITICAL = 2
UNKNOWN = 3
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells report it
NOBODY_READS = 141  # the same for SIGPIPE
EXIT_CODES = """\
exit codes:
  0    fine
  1    a warning, or refused: the message says what to fix
  2    critical
  3    unknown: wrong arguments, or an error in the program
  130  stopped by Ctrl-C
  141  the reader of the output is gone, as after `| head`

Of `query`, 0 means good, 1 revoked or unknown, 2 no response that can be
trusted.
"""
_LINE_CHARACTERS = 1000


class CommandError(Exception):
    """Why a command cannot go on, and what the operator has to fix; `status` is its exit code."""

    def __init__(self, reason, status=WARNING):
        # type: (str, int) -> None
        Exception.__init__(self, reason)
        self.status = status


def program():
    # type: () -> str
    """What the operator typed before the command."""
    name = os.path.basename(sys.argv[0])
    return name if name == "ocsp-cgi" else "python3 -m ocsp_cgi"


def run(name, load):
    # type: (str, Callable[[], Callable[[], int]]) -> NoReturn
    """Run the function that `load` imports and returns; end the process with its exit code.

    `name` is what the operator typed.
    """
    if sys.version_info < OLDEST:
        version = ".".join(str(number) for number in sys.version_info[:3])
        oldest = ".".join(str(number) for number in OLDEST)
        sys.stderr.write(
            "%s needs Python %s or newer; %s is Python %s\n"
            % (name, oldest, sys.executable, version)
        )
        sys.exit(UNKNOWN)
    try:
        try:
            status = load()()
        except CommandError as error:
            status = report(name, error)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C
        # An object that was interrupted while it was being made may complain as it is deleted.
        sys.unraisablehook = lambda _: None
        status = INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            status = NOBODY_READS
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "its output"
            sys.stderr.write("%s: cannot write %s: %s\n" % (name, where, error.strerror))
            discard_output()
            status = UNKNOWN
        else:
            import traceback

            traceback.print_exc()
            status = UNKNOWN
    if nobody_reads():
        discard_output()
    sys.exit(status)


def report(name, error):
    # type: (str, CommandError) -> int
    """Print an error.  Returns the exit code.

    It may repeat text from a file or the network, which must not control the terminal.
    """
    from ..answer import printable

    lines = [printable(line, _LINE_CHARACTERS) for line in str(error).split("\n")]
    sys.stderr.write("%s: %s\n" % (name, "\n".join(lines)))
    return error.status


def nobody_reads():
    # type: () -> bool
    """Whether the reader of standard output or standard error is gone."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def discard_output():
    # type: () -> None
    """Discard what is still buffered: Python would report an error about it when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
