"""Make the next key of a CA's signer, and change to its certificate once the CA has issued it.

Without options, a new key and certificate request are made, and the commands printed with which the
CA issues the certificate.  --certificate then verifies that certificate, and makes the config name
it and its key, with one rename of the config: until then, and if anything is wrong, the responder
signs as before.

Of two signers the one that expires first is renewed, and a certificate takes the place of the one
with the same kind of key, unless --signer says which.  `--signer 2` also adds a second signer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import stat
import time

from .. import config, times
from ..answer import printable
from ..certificate import Certificate, newest
from ..checks import preload
from ..config import CASettings, Settings, is_uri
from ..import_cryptography import SignerError
from ..signer import Signer, load_certificates, load_own
from ..tools import (
    config_file,
    entry,
    remote_source,
    signer_candidate,
    signer_choice,
    signer_files,
    signer_request,
)
from ..tools.entry import CommandError

_DAY = 24 * 60 * 60
_LINE_CHARACTERS = 2000
EXAMPLES = ("renew root-ca", "renew root-ca --certificate root-ocsp.crt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ca", metavar="CA", nargs="?", help="the section of the config; needed if it has several"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--certificate",
        metavar="FILE",
        help="verify the certificate that the CA has issued, and change to it",
    )
    what.add_argument(
        "--back", action="store_true", help="change back to the previous certificate and key"
    )
    parser.add_argument(
        "--signer",
        choices=("1", "2"),
        help="of two signers, the first (`rsigner`) or the second (`rsigner2`); 2 also adds a"
        " second one",
    )
    config_file.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if the key was made, or the config changed."""
    settings = config_file.load(arguments)
    if arguments.ca is None and len(settings.cas) > 1:
        sections = ", ".join(ca.name for ca in settings.cas)
        raise CommandError(f"which CA?  The config has {sections}", entry.UNKNOWN)
    [ca] = config_file.choose(settings, [arguments.ca] if arguments.ca else [])
    now = int(time.time())
    if arguments.signer:
        alone = signer_choice.of_option(ca, arguments.signer, now)
    elif arguments.back:
        alone = signer_choice.with_previous(ca, config_file.path(arguments))
    elif arguments.certificate is not None:
        alone = signer_choice.for_certificate(ca, arguments.certificate, now)
    else:
        alone = signer_choice.to_renew(ca, now)
    if ca.rsigner2 or alone.suffix:
        arguments.signer = alone.suffix or "1"  # in the commands that are printed, too
    signer_choice.refuse_without_key(alone)
    if is_uri(alone.rkey):
        preload.everything()
    if arguments.back:
        _Change(arguments, settings, alone, now).back()
    elif arguments.certificate is not None:
        _Change(arguments, settings, alone, now).to(arguments.certificate)
    else:
        (_request_for_token if is_uri(alone.rkey) else _make_request)(arguments, ca, alone, now)
    return entry.OK


def _today(now: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(now))


def _command(arguments: argparse.Namespace, command: str, ca: CASettings, *options: str) -> str:
    """A command of ours for the operator to type, about the same config."""
    if arguments.signer and command == "renew":
        options = ("--signer", arguments.signer, *options)
    if arguments.config:
        options += ("--config", arguments.config)
    return f"{entry.program()} {command} {shlex.join((ca.name, *options))}"


def _say(*texts: str) -> None:
    for line in "\n".join(texts).split("\n"):
        print(printable(line, _LINE_CHARACTERS))


# The next key


def _make_request(
    arguments: argparse.Namespace, section: CASettings, ca: CASettings, now: int
) -> None:
    """Make the next key of the signer of `ca`, which is the section with that signer alone."""
    is_added = bool(ca.suffix) and not section.rsigner2
    today = section if is_added else ca
    own = _signer_certificate(today, now)
    kind, why = signer_request.key_kind(own)
    if is_added:
        kind, why = signer_request.other_kind(own), ""
    names = signer_files.free(ca, _today(now))
    mode, owner = _key_mode(today)
    pem = signer_request.new_key(kind, ca.passin)
    unfinished = signer_files.hidden(names.key, pem, mode, owner)
    try:
        request = signer_request.new_request(own, unfinished, ca.passin)
        if not signer_files.link(unfinished, names.key) or not signer_files.create(
            names.request, request, 0o644
        ):
            raise CommandError(
                f"{names.request}: another renewal has made files of this name meanwhile"
            )
    finally:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
    _say(f"[{ca.name}] signs with {today.rsigner}.", f"The certificate {_end(own, now)}.\n")
    _say(f"Made for the same subject, {kind.name}{f', because {why}' if why else ''}:")
    _say(f"  {names.key}\n  {names.request}\n")
    _say(*_next_steps(arguments, ca, names, own))


def _request_for_token(
    arguments: argparse.Namespace, section: CASettings, ca: CASettings, now: int
) -> None:
    """Make a request for the next certificate of the same key, which is on a token."""
    own = _signer_certificate(ca, now)
    names = signer_files.free(ca, _today(now))
    request = signer_request.new_request_for_token(own, ca)
    if not signer_files.create(names.request, request, 0o644):
        raise CommandError(f"{names.request}: another renewal has made this file meanwhile")
    _say(f"[{ca.name}] signs with {ca.rsigner}.", f"The certificate {_end(own, now)}.\n")
    _say(f"Made for the same subject, and the same key, which is on a token ({ca.rkey}):")
    _say(f"  {names.request}\n")
    _say(*_next_steps(arguments, ca, names, own))


def _signer_certificate(ca: CASettings, now: int) -> Certificate:
    """The certificate that signs today.  CommandError if there is none, or it is the CA's own."""
    try:
        own = newest(load_own(ca), now)
        issuers = load_certificates("ca", ca.ca)
    except SignerError as error:
        raise CommandError(str(error)) from None
    if any(one.is_same_holder(own) for one in issuers):
        raise CommandError(
            f"[{ca.name}] signs its responses itself: {ca.rsigner} is the CA's own certificate,"
            " and with a new key it would be another CA.  For a signer that can be renewed, follow"
            " steps 2 and 3 of `Install it` in the README"
        )
    return own


def _key_mode(ca: CASettings) -> tuple[int, tuple[int, int]]:
    """Mode, user and group of the CA's key: those of the next one."""
    try:
        of = os.stat(ca.rkey)
    except OSError as error:
        raise CommandError(
            f"{ca.rkey}: {error.strerror}; the new key gets its owner and mode: if it is lost,"
            f" `install -m 640 -g GROUP /dev/null {shlex.quote(ca.rkey)}` with the web server's"
            " group takes its place"
        ) from None
    return stat.S_IMODE(of.st_mode) & 0o660, (of.st_uid, of.st_gid)


def _end(holder: Certificate, now: int) -> str:
    days = (holder.not_after - now) // _DAY
    when = times.http_date(holder.not_after)
    if days < 0:
        return f"expired on {when}"
    return f"expires in {days} day{'s' * (days != 1)}, on {when}"


def _next_steps(
    arguments: argparse.Namespace, ca: CASettings, names: signer_files.Names, own: Certificate
) -> list[str]:
    """What to type until the new certificate signs."""
    host, home = "ca.example.com", ca.name
    with contextlib.suppress(CommandError):
        source = remote_source.parse(ca.sync_from or "", insecure=True)
        if isinstance(source, remote_source.RemoteSource) and source.host:
            host = source.host
            if "/" in source.path:  # DIRECTORY/db/index; else the directory is that of `rrsync`
                home = os.path.dirname(os.path.dirname(source.path)) or "."
    remote = f"{host}:{home}"
    request, issued = os.path.basename(names.request), os.path.basename(names.certificate)
    days = max(1, round((own.not_after - own.not_before) / _DAY))
    return [
        "1. Copy the request to the CA's host:",
        f"     scp {shlex.quote(names.request)} {shlex.quote(remote + '/')}",
        "2. There, in the CA's directory, with the CA's own config, issue it:",
        f"     openssl ca -config {shlex.quote(ca.name + '.cnf')} -extensions ocsp_ext \\",
        f"         -days {days} -in {shlex.quote(request)} -out {shlex.quote(issued)}",
        "3. Here, fetch it, and change to it; until then nothing changes:",
        f"     scp {shlex.quote(f'{remote}/{issued}')} \\",
        f"         {shlex.quote(names.certificate)}",
        "     " + _command(arguments, "renew", ca, "--certificate", names.certificate),
    ]


# The change to a certificate


class _Change:
    """The change of a section, and of those that share its signer, to another one.  `ca` is the
    section with that signer alone."""

    def __init__(self, arguments: argparse.Namespace, settings: Settings, ca: CASettings, now: int):
        self.arguments = arguments
        self.config = config_file.path(arguments)
        self.ca = ca
        self.now = now
        [section] = [one for one in settings.cas if one.name == ca.name]
        self.is_added = bool(ca.suffix) and not section.rsigner2
        others = [one for other in settings.cas if other is not section for one in other.signers()]
        self.sharing = [ca, *(other for other in others if _shares_signer(ca, other))]

    def to(self, path: str) -> None:
        """Change to the certificate in a file, for a key that was made before."""
        signer_candidate.check_file(path)
        key = self.ca.rkey
        found = signer_candidate.signer(signer_candidate.with_signer(self.ca, path, key), self.now)
        key = signer_candidate.find_key(found, self.ca, path)
        accepted = self._accepted(path, key)
        self._note_differences(found)
        target = self._put_in_place(path, key)
        _say(f"{path}: issued by [{self.ca.name}];\nits key is {key}.\n")
        self._switch(accepted, target, key, found.certificate)

    def back(self) -> None:
        """Change back to the previous certificate and key."""
        rsigner, rkey = (
            self._remembered(self.ca, name + self.ca.suffix) for name in ("rsigner", "rkey")
        )
        if not rsigner:
            raise CommandError(
                f"{self.config}: [{self.ca.name}] has no `# rsigner{self.ca.suffix} before ...`,"
                " which `renew --certificate` leaves there.  To change to any earlier certificate: "
                + _command(self.arguments, "renew", self.ca, "--certificate", "FILE")
            )
        signer_candidate.check_file(rsigner)
        found = signer_candidate.signer(
            signer_candidate.with_signer(self.ca, rsigner, self.ca.rkey), self.now
        )
        key = signer_candidate.find_key(found, self.ca, rsigner, *filter(None, [rkey]))
        self._switch(self._accepted(rsigner, key), rsigner, key, found.certificate)

    def _remembered(self, ca: CASettings, setting: str) -> str:
        """The path that a renewal left in a comment, "" if there is none."""
        return config_file.path_in(
            self.config, config_file.remembered(self.config, ca.name, setting)
        )

    def _accepted(self, rsigner: str, rkey: str) -> list[CASettings]:
        """The sections whose signer this certificate and key may be.  CommandError if the section
        that the operator named is not among them."""
        accepted = []
        for ca in self.sharing:
            candidate = signer_candidate.with_signer(ca, rsigner, rkey)
            try:
                found = signer_candidate.signer(candidate, self.now)
                signer_candidate.try_key(found)
                note = signer_candidate.look_up(found, candidate)
            except CommandError as error:
                if ca is self.ca:
                    raise
                _say(f"[{ca.name}] has the same signer as [{self.ca.name}], and keeps it: {error}")
                continue
            accepted.append(ca)
            for text in (note, *_warnings(found)):
                if text:
                    _say(f"[{ca.name}] {text}")
        return accepted

    def _put_in_place(self, path: str, key: str) -> str:
        """The certificate beside that of today, readable for everybody.  Returns its path there."""
        directory = os.path.dirname(self.ca.rsigner)
        if os.path.realpath(os.path.dirname(path) or ".") == os.path.realpath(directory or "."):
            signer_candidate.let_all_read(path)
            return os.path.join(directory, os.path.basename(path))
        content = signer_candidate.check_file(path)
        first = signer_files.certificate_path(self.ca, key, _today(self.now))
        target, number = first, 2
        while not signer_files.create(target, content, 0o644):
            with open(target, "rb") as file:
                if file.read() == content:
                    signer_candidate.let_all_read(target)
                    return target
            stem, suffix = os.path.splitext(first)
            target, number = f"{stem}-{number}{suffix}", number + 1
        _say(f"Copied to {target}.")
        return target

    def _switch(
        self, accepted: list[CASettings], rsigner: str, rkey: str, holder: Certificate
    ) -> None:
        """Make the config name another certificate and key, in these sections."""
        changes: dict[tuple[str, str], str | None] = {}
        for ca in accepted:
            like = "" if self.is_added else ca.suffix
            for name, new in (("rsigner", rsigner), ("rkey", rkey)):
                changes[ca.name, name + ca.suffix] = _spelled(
                    config_file.value(self.config, ca.name, name + like), getattr(ca, name), new
                )
        if self.is_added and self.ca.passin:  # the new key was encrypted with it
            passin = config_file.value(self.config, self.ca.name, "passin")
            changes[self.ca.name, "passin2"] = passin
        signer_files.give_as(rkey, self.ca.rkey)
        if not config_file.edit(self.config, changes, _today(self.now)):
            _say(f"[{self.ca.name}] signs with it already: nothing has been changed.")
            return
        names = " and ".join(f"[{ca.name}]" for ca in accepted)
        _say(f"{self.config}: from now on {names} {'sign' if accepted[1:] else 'signs'} with")
        for name in ("rsigner", "rkey"):
            name += self.ca.suffix
            _say(f"  {name:{7 + len(self.ca.suffix)}} = {changes[self.ca.name, name]}")
        _say(f"The certificate {_end(holder, self.now)}.\n")
        if self.is_added:
            _say("It signs for clients that prefer its kind of key, and whenever the first cannot.")
            _say("To change back: remove these settings from the config.")
        elif config_file.remembered(self.config, self.ca.name, f"rsigner{self.ca.suffix}"):
            _say("To change back: " + _command(self.arguments, "renew", self.ca, "--back"))
        _say("To see that all is well: " + _command(self.arguments, "check", self.ca))
        unused = self._unused()
        if unused:
            _say("\nNothing needs these files of earlier signers any more:")
            _say("  rm " + " \\\n     ".join(map(shlex.quote, unused)))

    def _note_differences(self, found: Signer) -> None:
        """Say what may surprise an operator who looks at the certificate of today."""
        try:
            before = newest(load_own(self.ca), self.now)
        except SignerError:
            return
        for text in signer_candidate.differences(found, before):
            _say(f"[{self.ca.name}] {text}")

    def _unused(self) -> list[str]:
        settings = config.load(self.config)
        signers = [one for ca in settings.cas for one in ca.signers()]
        in_use = [path for one in signers for path in (one.rsigner, one.rkey)]
        others = [path for one in signers for path in (one.ca, one.passin) if path]
        for ca in settings.cas:
            for name in ("rsigner", "rkey", "rsigner2", "rkey2"):
                in_use += filter(None, [self._remembered(ca, name)])
        own = self.ca.name, self.ca.suffix
        [changed] = [one for one in signers if (one.name, one.suffix) == own]
        return signer_files.unused(changed, in_use, others)


def _warnings(found: Signer) -> list[str]:
    return [f"From now on the log has warning={warning}." for warning in found.warnings()]


def _shares_signer(ca: CASettings, other: CASettings) -> bool:
    """Whether another section has the same files of its signer."""
    pairs = (ca.rsigner, other.rsigner), (ca.rkey, other.rkey)
    return all(os.path.realpath(a) == os.path.realpath(b) for a, b in pairs)


def _spelled(value: str, path: str, new: str) -> str:
    """The path `new` as the config should have it, which has `value` for `path` today: relative to
    the config if that is."""
    if os.path.realpath(os.path.dirname(path)) == os.path.realpath(os.path.dirname(new)):
        return os.path.join(os.path.dirname(value), os.path.basename(new))
    return os.path.abspath(new)
