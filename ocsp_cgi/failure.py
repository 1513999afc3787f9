"""Unexpected exceptions, explained to the operator: which file is concerned, and what to do.

Their cause is usually outside the program: a failing disk, a memory limit, a module that was copied
only in part.
"""

import _thread
import errno
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_MEMORY = (
    "out of memory: raise the limit (RLimitMEM in Apache, LimitAS= or MemoryMax= in systemd,"
    " ulimit -v)"
)
_REASONS = {
    errno.EIO: "the disk or the file system is failing; `dmesg` says more",
    errno.ENOMEM: _MEMORY,
    errno.EACCES: (
        "the responder's user must be able to read it, and to enter every directory above it"
    ),
    errno.EPERM: (
        "the responder's user must be able to read it; does AppArmor or SELinux forbid it?"
    ),
    errno.EMFILE: "too many files are open: raise LimitNOFILE= in systemd, or ulimit -n",
    errno.ENFILE: "too many files are open on this machine: raise the sysctl fs.file-max",
    errno.ESTALE: "stale file on a network file system; mount it again",
}


def explain(error: BaseException) -> str:
    """What an exception means: the file that was being read or imported, the error, the fix."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"{_file(error)}: {_MEMORY}; or is this file far longer than it should be?"
    if isinstance(error, OSError):
        return (
            f"{_file(error)}: {error.strerror or text};"
            f" {_REASONS.get(error.errno or 0, 'does it exist, and is it what it should be?')}"
        )
    if isinstance(error, RecursionError):
        return f"{_file(error)}: {text}: is this file what it should be?"
    spec, module = _being_imported(error), _incomplete_module(error)
    if spec is not None and spec.cached and isinstance(error, (EOFError, ValueError, TypeError)):
        return (
            f"{spec.cached}: {text}: corrupt or truncated; remove this file, and Python compiles"
            " the module again"
        )
    if spec is not None or module or isinstance(error, (ImportError, SyntaxError)):
        file = module or _file(error)
        return f"{file}: {text}: corrupt, truncated or not readable; {_install(file)}"
    return (
        f"please report this: {error!r} at {_place(error)}, unless that file is truncated or has"
        " been changed"
    )


def _file(error: BaseException) -> str:
    """The file that an exception concerns."""
    spec = _being_imported(error)
    named = (
        getattr(error, "filename", None) or getattr(error, "path", None) or (spec and spec.origin)
    )
    if named:
        return named if isinstance(named, str) else repr(named)
    if isinstance(error, ImportError):
        return _place(error)
    answer = sys.modules.get("ocsp_cgi.answer")  # unless it is the damaged module
    return answer.now_reading(_thread.get_ident()) if answer else "ocsp_cgi"


def _being_imported(error: BaseException) -> "ModuleSpec | None":
    """The ModuleSpec of the module that could not be imported, None if something else failed."""
    spec, trace = None, error.__traceback__
    while trace:
        if not trace.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
            spec = None
        else:
            spec = trace.tb_frame.f_locals.get("spec") or spec
        trace = trace.tb_next
    return spec


def _incomplete_module(error: BaseException) -> str:
    """The file of a module that lacks a name, as if truncated between two lines, else ""."""
    if isinstance(error, NameError):
        return _place(error).rpartition(":")[0]
    if isinstance(error, AttributeError) and str(error).startswith("module '"):
        module = sys.modules.get(str(error).split("'")[1])
        return getattr(module, "__file__", None) or _place(error)
    return ""


def _install(file: str) -> str:
    if "ocsp_cgi" in file.rpartition("/")[0]:
        return (
            "install ocsp.cgi again (`python3 -m ocsp_cgi install`, or copy the whole of ocsp_cgi)"
        )
    if "cryptography" in file:
        return (
            "install it again: `apt-get install --reinstall python3-cryptography`, or `pip install"
            " --force-reinstall cryptography`"
        )
    return "install the package this file belongs to again (`dpkg -S` or `rpm -qf` names it)"


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "an unknown place"
