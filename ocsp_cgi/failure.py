"""What an exception means that nobody foresaw, in words for the operator: which file it is about, and what to do.

It is raised by what is around the program: a disk that fails, a limit on memory, a module that was copied in part.
"""

import errno
import sys

_MEMORY = "out of memory: raise the limit (RLimitMEM in Apache, LimitAS= or MemoryMax= in systemd, ulimit -v)"
_REASONS = {
    errno.EIO: "the disk or the file system fails; `dmesg` says more",
    errno.ENOMEM: _MEMORY,
    errno.EACCES: "the web server's user must be able to read it, and to enter every directory above it",
    errno.EPERM: "the web server's user must be able to read it; does AppArmor or SELinux forbid it?",
    errno.EMFILE: "too many files are open: raise LimitNOFILE= in systemd, or ulimit -n",
    errno.ENFILE: "too many files are open on this machine: raise the sysctl fs.file-max",
    errno.ESTALE: "the network file system has lost it; mount it again",
}
_REINSTALL = (
    "the file is damaged, cut off or not readable. Install it again: `python3 -m ocsp_cgi install` for ocsp_cgi,"
    " `apt-get install --reinstall python3-cryptography` or `pip install --force-reinstall cryptography` for that"
)


def explain(error: BaseException) -> str:
    """What an exception means.  It begins with the name of the file that was being read or imported."""
    file, said = _file(error), str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"{file}: {_MEMORY}; or is this file far longer than it should be?"
    if isinstance(error, OSError):
        reason = _REASONS.get(error.errno, "is it there, and as it should be?")
        return f"{file}: {error.strerror or said}; {reason}"
    if isinstance(error, RecursionError):
        return f"{file}: {said}: is this file what it should be?"
    if isinstance(error, (ImportError, SyntaxError)) or _imported(error) or _lacks_a_part(error):
        return f"{file}: {said}; {_REINSTALL}"
    return f"please report this: {error!r} at {_place(error)}"


def _file(error: BaseException) -> str:
    """The file that an exception is about."""
    spec = _imported(error)
    if isinstance(error, (EOFError, ValueError, TypeError)) and spec is not None and spec.cached and not isinstance(error, SyntaxError):
        return spec.cached  # what was compiled from the module
    named = getattr(error, "filename", None) or getattr(error, "path", None) or (spec and spec.origin)
    if named:
        return named if isinstance(named, str) else repr(named)
    if isinstance(error, (ImportError, AttributeError, NameError)):
        return _place(error)
    errors = sys.modules.get("ocsp_cgi.errors")  # or that is the module which is damaged
    return errors.now_reading if errors else "ocsp_cgi"


def _imported(error: BaseException):
    """The ModuleSpec of the module that was being imported when Python's import system failed, None if that did not."""
    spec, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
            spec = trace.tb_frame.f_locals.get("spec") or spec
        elif trace.tb_next is None:
            spec = None  # the module itself, or what called it
        trace = trace.tb_next
    return spec


def _lacks_a_part(error: BaseException) -> bool:
    """Whether a name is missing in a module, as it is where its file has been cut off between two lines."""
    return isinstance(error, NameError) or isinstance(error, AttributeError) and "module '" in str(error)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "an unknown place"
