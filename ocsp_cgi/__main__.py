"""The command line: `ocsp-cgi COMMAND`, or `python3 -m ocsp_cgi COMMAND`."""

from .tools import entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn


def main():
    # type: () -> NoReturn
    entry.run(entry.program(), _load)


def _load():
    # type: () -> Callable[[], int]
    from . import command_line

    return command_line.main


if __name__ == "__main__":
    main()
