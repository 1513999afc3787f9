"""Replace a shell script in cgi-bin by ocsp.cgi without downtime, and say how to go back.

It reads the files and settings from the script without running it, and asks both responders the
same.  Only if their responses agree does a link to ocsp.cgi take the script's name; the script is
kept beside it, in a directory that ends with `.before-migration`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import textwrap
import time
from pathlib import Path
from typing import Any

from .. import certificate, config, settings_table
from ..answer import printable
from ..config import CASettings, Settings, is_uri
from ..issuer import Issuer
from ..ocsp_request import encode_request
from ..tools import (
    accounts,
    apache_lines,
    comparing,
    config_file,
    data_files,
    entry,
    environment,
    migration,
    sample_requests,
    shell_script,
    swap,
)
from ..tools.entry import CommandError
from ..tools.files import write
from ..tools.layout import PREFIX
from ..tools.old_responder import Script
from ..tools.record import Record
from ..tools.swap import Swap

_NEEDED = (*config.REQUIRED, "rkey")
_OPTIONS = (*_NEEDED, "passin", "hyperlink", "nmin")
EXAMPLES = (
    "migrate /usr/lib/cgi-bin/ocsp.cgi --dry-run",
    "migrate /usr/lib/cgi-bin/ocsp.cgi --back",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("script", metavar="SCRIPT", help="such as /usr/lib/cgi-bin/ocsp.cgi")
    settings = {**settings_table.OF_A_CA, **settings_table.OF_THE_RESPONDER}
    for name in _OPTIONS:
        metavar = {"hyperlink": "URL", "nmin": "MINUTES"}.get(name, "FILE")
        parser.add_argument(
            f"--{name}", metavar=metavar, help=f"{settings[name].what} (default: as in SCRIPT)"
        )
    config_file.add_argument(parser)
    comparing.add_arguments(parser)
    accounts.add_argument(parser)
    parser.add_argument(
        "--url",
        metavar="URL",
        help="where clients reach SCRIPT (default: http://localhost/cgi-bin/ and its name)",
    )
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        help=f"where the program is installed (default: this program's directory, or {PREFIX})",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and compare, but change nothing"
    )
    parser.add_argument("--back", action="store_true", help="put the old script back")
    parser.add_argument(
        "--force", action="store_true", help="swap although responses are different"
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if ocsp.cgi has taken the script's place, or could with --dry-run."""
    script = Path(os.path.abspath(arguments.script))
    url = swap.check_url(arguments.url or f"http://localhost/cgi-bin/{script.name}")
    prefix = _prefix(arguments.prefix)
    change = Swap(script, prefix / "ocsp.cgi")
    if arguments.back:
        change.undo()
        print(f"{script} is the old script again.")
        return entry.OK
    if change.is_done:
        print(f"{script} is ocsp.cgi already.")
        if os.path.exists(change.kept):
            _say_how_to_go_back(change)
        return entry.OK
    environment.require_openssl()
    account = accounts.account(arguments.user)
    accounts.check_program(script, account)
    found = _read(script, arguments)
    path = Path(os.path.abspath(config_file.path(arguments)))
    text = migration.config_text(found, migration.cache_for(account))
    record = Record(prefix / "installed.json")
    is_there = migration.existing(path, found, record, text)
    print(f"\n{path} {'has this CA' if is_there else 'will be'}:")
    print(textwrap.indent((path.read_text() if is_there else text).rstrip("\n"), "    ") + "\n")
    settings = config.load(str(path)) if is_there else config_file.parse(text, str(path))
    ca = next(one for one in settings.cas if migration.is_section(one, found))
    _check(settings, ca, script, account, arguments)
    encoded = _request(ca)
    if arguments.dry_run:
        print("\nNothing was changed, because of --dry-run.")
        _say_what_apache_lacks(script, str(path))
        return entry.OK
    if not is_there:
        try:
            write(path, text.encode(), 0o644)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}: run this command as root") from None
        print(f"\n{path} has been written.")
    if not change.program.exists():
        raise CommandError(
            f"{script} is unchanged, because the program is not in {prefix} yet: run\n"
            f"    {entry.program()} install\n"
            "which leaves the script alone, and then this command again"
        )
    accounts.check_program(change.program, account)
    change.check()
    _swap(change, url, encoded, str(path), arguments.force)
    if record.exists and os.access(record.path, os.W_OK):
        record.links[str(script)] = str(change.program)
        record.save()
    _say_what_apache_lacks(script, str(path))
    return entry.OK


def _prefix(option: str | None) -> Path:
    if option:
        return Path(os.path.abspath(option))
    here = data_files.PACKAGE.parent
    return here if (here / "installed.json").exists() else PREFIX


def _read(script: Path, arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that the script and the options give; CommandError if one is missing."""
    if migration.is_responder(script):
        raise CommandError(f"{script}: is a copy of ocsp.cgi, not a shell script")
    try:
        old = shell_script.read(script, script.read_text(errors="replace"))
    except OSError as error:
        raise CommandError(f"{script}: {error.strerror}") from None
    found = dict(old.settings)
    print(f"{script}, read without running it:")
    for name in _OPTIONS:
        value = getattr(arguments, name)
        if value is not None:
            is_path = name not in ("hyperlink", "nmin") and not (name == "rkey" and is_uri(value))
            found[name] = os.path.abspath(value) if is_path else value
            print(f"  {name:9} {printable(found[name])} (--{name})")
        elif name in found:
            print(f"  {name:9} {printable(found[name])} (line {old.lines[name]})")
    if old.notes:
        print("Not taken over:")
    for note in old.notes:
        text = f"  line {note.line}: {printable(note.text, 60)}: {printable(note.why)}"
        print(textwrap.fill(text, 79, subsequent_indent="    "))
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        options = " ".join(f"--{name} FILE" for name in missing)
        raise CommandError(
            f"{script} does not say, in a way that can be read without running it, what"
            f" {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'}.  Add:\n    {options}"
        )
    return found


def _check(
    settings: Settings,
    ca: CASettings,
    script: Path,
    account: dict[str, Any],
    arguments: argparse.Namespace,
) -> None:
    """CommandError if ocsp.cgi should not take the script's place."""
    problems = migration.unreadable(ca, account)
    if problems:
        raise CommandError("\n".join(problems))
    if not account:
        print(
            f"(What {accounts.name(account)} can read was checked, not what Apache can: only root"
            " can check that.)"
        )
    different = comparing.compare(
        settings, ca, Script(script, account), account, arguments.rows, arguments.save
    )
    if different and not arguments.force:
        raise CommandError(
            f"{script} is unchanged: {different} responses would be different.  If that is what you"
            " want, add --force"
        )


def _request(ca: CASettings) -> bytes:
    """A request about the signer's certificate."""
    now = int(time.time())
    issuer = Issuer(ca)
    known = certificate.newest(issuer.certificates, now)
    serial_number = issuer.signer(now).certificate.serial_number
    return encode_request([sample_requests.cert_id(known, serial_number)])


def _swap(change: Swap, url: str, encoded: bytes, config_path: str, force: bool) -> None:
    """Swap, with a look at the running Apache before and after."""
    before = swap.ask(url, encoded)
    if before.is_successful:
        change.try_out(url, encoded, config_path == config.DEFAULT_PATH)
    else:
        is_named = apache_lines.mention(apache_lines.config_files(), config_path)
        if config_path != config.DEFAULT_PATH and not is_named and not force:
            raise CommandError(
                f"{change.script} is unchanged: Apache has to tell ocsp.cgi where the config is."
                f"  Put this into the virtual host, and reload Apache:\n"
                f'    SetEnv OCSP_CGI_CONFIG "{config_path}"\n'
                "If it is there, name the URL that clients ask with --url, or add --force"
            )
        print(
            f"{url} does not lead to {change.script} ({before.says}), so Apache is not asked: name"
            " another URL with --url."
        )
    change.carry_out()
    after = swap.ask(url, encoded)
    if before.is_successful and not after.is_successful:
        change.undo()
        hint = ""
        if config_path != config.DEFAULT_PATH:
            hint = "; does its configuration have this line?\n"
            hint += f'    SetEnv OCSP_CGI_CONFIG "{config_path}"'
        raise CommandError(
            f"{change.script} is the old script again: as ocsp.cgi, {url} sent {after.says}."
            f"  Apache's error log says why{hint}"
        )
    print(f"\n{change.script} is ocsp.cgi now.  The old script is {change.kept}")
    if after.is_successful:
        print(f"{url} has answered.")
    _say_how_to_go_back(change)


def _say_how_to_go_back(change: Swap) -> None:
    print(
        f"To go back:\n    {entry.program()} migrate {shlex.quote(str(change.script))} --back\n"
        "or, if that does not work (requests that have begun in that moment may get an error):\n"
        f"    {change.back}"
    )


def _say_what_apache_lacks(script: Path, config_path: str) -> None:
    found = apache_lines.missing(apache_lines.config_files(), script, config_path)
    if not found:
        return
    print(
        "\nThe script answered only POST.  For clients that send GET, such as nginx, HAProxy,"
        "\nJava and Windows, Apache's configuration lacks these lines, in the virtual host\nthat"
        " they ask:"
    )
    for place, lines in found:
        print(f"\n  {place}:")
        for line in lines:
            print(f"      {line}")
    print("\nThen reload Apache: apachectl -t && apachectl -k graceful")
