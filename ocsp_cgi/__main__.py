"""The command line: python3 -m ocsp_cgi COMMAND."""

from .tools import entry


def _load():
    from . import command_line

    return command_line.main


if __name__ == "__main__":
    entry.run("python3 -m ocsp_cgi", _load)
