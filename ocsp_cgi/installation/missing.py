"""What the config names and is not there yet, or cannot be read, with the README's next step."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from .. import index_file
from ..checks.owners import closed
from ..config import CASettings, is_uri
from ..tools import as_user
from ..tools.entry import program
from ..tools.plan import Problem

_HOST = "ca.example.com"
_SIGNING_HOST = "signer.example.com"


def find(cas: list[CASettings], user: str) -> list[Problem]:
    """What keeps this user from answering for these CAs."""
    wanted = [
        (path, problem)
        for ca in cas
        for path, problem in (*_signers(ca), _issuer(ca), *_pass_phrases(ca), _index(ca))
    ]
    found = as_user.call(user, _states, [path for path, _ in wanted])
    problems = []
    for (path, problem), (exists, place) in zip(wanted, found):
        if problem.text.startswith(path) and not exists and not place:
            problems.append(problem)
        elif place:
            problems.append(_unreadable(path, place, user))
        elif not problem.text.startswith(path):
            problems.append(problem)
    return list(dict.fromkeys(problems))


def _signers(ca: CASettings) -> list[tuple[str, Problem]]:
    wanted = []
    for alone in ca.signers():
        has_file = alone.rkey and not is_uri(alone.rkey)
        wanted += [_key(alone), _signer(alone)] if has_file else [_signer(alone)]
    return wanted


def _key(ca: CASettings) -> tuple[str, Problem]:
    request = Path(ca.rsigner).stem + ".csr"
    return ca.rkey, Problem(
        f"{ca.rkey}: the key.  Create it and a certificate request:",
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        f" -subj {shlex.quote(_subject(ca))}"
        f" -keyout {shlex.quote(ca.rkey)} -out {shlex.quote(request)}",
    )


def _signer(ca: CASettings) -> tuple[str, Problem]:
    name = Path(ca.rsigner).name
    if not ca.rkey:
        return ca.rsigner, Problem(
            f"{ca.rsigner}: the signer's certificate.  Copy it here from the host with the key:",
            f"scp {_SIGNING_HOST}:{ca.rsigner} {shlex.quote(ca.rsigner)}",
        )
    return ca.rsigner, Problem(
        f"{ca.rsigner}: the signer's certificate.  Let the CA issue it, and copy it here:",
        f"openssl ca -config {shlex.quote(ca.name + '.cnf')} -in {Path(name).stem}.csr"
        f" -out {name} -extensions ocsp_ext -days 90\n"
        f"scp {_remote(ca, name)} {shlex.quote(ca.rsigner)}",
    )


def _issuer(ca: CASettings) -> tuple[str, Problem]:
    return ca.ca, Problem(
        f"{ca.ca}: the CA's certificate.  Copy it here:",
        f"scp {_remote(ca, Path(ca.ca).name)} {shlex.quote(ca.ca)}",
    )


def _pass_phrases(ca: CASettings) -> list[tuple[str, Problem]]:
    return [
        (
            one.passin,
            Problem(
                f"{one.passin}: the file with the pass phrase of {one.rkey}, which"
                f" `passin{one.suffix}` names"
            ),
        )
        for one in ca.signers()
        if one.passin
    ]


def _index(ca: CASettings) -> tuple[str, Problem]:
    try:
        path = index_file.path_of(ca.db)
    except index_file.DatabaseUnavailable as error:
        return ca.db, Problem(f"[{ca.name}] {error}")
    if ca.sync_from:
        return path, Problem(
            f"{path}: the database.  Copy it from {ca.sync_from}:", f"{program()} sync {ca.name}"
        )
    return path, Problem(
        f"{path}: the database.  Copy it here, and let --sync-from repeat that from then on:",
        f"rsync --copy-links --times {_remote(ca, f'db/{Path(path).name}')} {shlex.quote(path)}",
    )


def _remote(ca: CASettings, path: str) -> str:
    """A file of this CA on its host, where its directory has the name of its section."""
    return shlex.quote(f"{_HOST}:{ca.name}/{path}")


def _subject(ca: CASettings) -> str:
    """The README's for its CA; signers of two CAs should not have the same."""
    name = ca.name.replace("/", "\\/")
    return f"/CN=OCSP {'Root Responder' if ca.name == 'root-ca' else f'Responder of {name}'}"


def _unreadable(path: str, place: str, user: str) -> Problem:
    what = "enter" if os.path.isdir(place) and place != path else "read"
    where = "" if place == path else f", because it cannot {what} {place}"
    return Problem(f"{path}: {user} cannot read it{where}")


def _states(paths: list[str]) -> list[tuple[bool, str]]:
    """Of each path, whether it exists, and what keeps this user from reading it, "" if nothing."""
    return [(os.path.lexists(path), closed(path)) for path in paths]
