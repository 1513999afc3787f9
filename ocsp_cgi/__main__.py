"""The command line: python3 -m ocsp_cgi COMMAND."""

from .commands import entry


def _load():
    from .commands import command_line

    return command_line.main


if __name__ == "__main__":
    entry.run("python3 -m ocsp_cgi", _load)
