"""How every command starts and ends.

This file and those that load it must parse under Python 2.7 too: what such a Python says of their
syntax would not tell the operator that it is too old.
"""

import os
import select
import signal
import sys

OLDEST = (3, 9)
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells report it
NOBODY_READS = 141  # the same of SIGPIPE


def run(command, load):
    """Run the function that `load` imports and returns; end the process with its status.

    `command` is what the operator has typed.  Ctrl-C, and a reader of the output that has gone
    (`| head`), end it without a traceback.
    """
    if sys.version_info < OLDEST:
        version = ".".join(str(number) for number in sys.version_info[:3])
        oldest = ".".join(str(number) for number in OLDEST)
        sys.exit(
            "%s needs Python %s or newer; %s is Python %s"
            % (command, oldest, sys.executable, version)
        )
    try:
        try:
            sys.exit(load()())
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second of somebody impatient
        status = INTERRUPTED
    except BrokenPipeError:
        if not nobody_reads():
            raise  # it was another pipe
        status = NOBODY_READS
    if nobody_reads():
        discard_output()
    sys.exit(status)


def nobody_reads():
    """Whether the reader of standard output or standard error has gone."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def discard_output():
    """Write to nowhere what is still to be written, or Python complains about it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
