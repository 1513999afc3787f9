"""The completion, by a real bash, and by the loader of the real bash-completion."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from ocsp_cgi import command_line
from ocsp_cgi.installation import help_files
from ocsp_cgi.tools import completion

pytestmark = pytest.mark.process

# Completes the last of the words, as readline calls the function that `complete -p` names.
ASK = """\
compopt() { :; }  # which readline alone may call
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_ocsp_cgi ocsp-cgi "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
CONFIG = """\
[responder]
log = all
  [ root-ca ]\r
db = db
[sub-ca]
[$(touch pwned)]
[two words]
# [comment]
[last]"""
LOADER = Path("/usr/share/bash-completion/bash_completion")


@pytest.fixture
def complete(tmp_path):
    """complete(*words) is what the last of them may become."""
    script = tmp_path / "ocsp-cgi"
    (tmp_path / "ocsp-cgi.conf").write_text(CONFIG)
    script.write_text(
        completion.script(command_line.parser(), str(tmp_path / "ocsp-cgi.conf")) + ASK
    )

    def complete(*words: str, **environment: str) -> list[str]:
        ran = subprocess.run(
            ["bash", "--norc", "-u", str(script), "ocsp-cgi", *words],
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout.splitlines() if ran.stdout.strip() else []

    return complete


def test_commands_and_options(complete):
    parser = command_line.parser()
    assert complete("") == list(parser.commands())
    assert complete("che") == ["check"]
    assert complete("--v") == ["--version"]
    for name, its in parser.commands().items():
        options = [one for action in its.arguments() for one in action.option_strings]
        assert complete(name, "-") == options
    assert complete("install", "--dry-run", "--un") == ["--uninstall"]
    assert complete("nonsense", "") == complete("demo", "") == []


def test_values(complete, tmp_path):
    assert complete("renew", "root-ca", "--signer", "") == ["1", "2"]
    assert complete("renew", "--signer", "=") == ["1", "2"]
    assert complete("renew", "--signer", "=", "2") == ["2"]
    assert complete("manual", "ocsp-cgi.") == ["ocsp-cgi.conf"]
    assert complete("check", "--warning", "") == []
    assert complete("check", "--user", "roo") == ["root"]
    (tmp_path / "root-ca.crt").touch()
    (tmp_path / "root directory").mkdir()
    for words in (("query", "--cert"), ("check", "--cert"), ("explain",), ("migrate",)):
        assert sorted(complete(*words, "root")) == ["root directory", "root-ca.crt"]
    assert complete("install", "--prefix", "root") == ["root directory"]


def test_cas_of_the_config(complete, tmp_path):
    everything = ["root-ca", "sub-ca", r"\$\(touch\ pwned\)", r"two\ words", "last"]
    for words in (("check",), ("sync", "--force"), ("explain", "--ca"), ("compare",)):
        assert complete(*words, "") == everything
    assert complete("renew", "ro") == ["root-ca"]
    assert complete("check", "root-ca", "s") == ["sub-ca"]
    assert not (tmp_path / "pwned").exists()
    (tmp_path / "other.conf").write_text("[elsewhere]\n")
    for words in (("--config", "other.conf"), ("--config", "=", "~/other.conf")):
        assert complete("check", *words, "") == ["elsewhere"]
    assert complete("check", "", OCSP_CGI_CONFIG="other.conf") == ["elsewhere"]
    assert complete("check", "--config", "nowhere", "") == []
    os.mkfifo(tmp_path / "pipe")
    assert complete("check", "--config", "pipe", "") == []


def test_bash_completion_loads_it_where_install_puts_it(tmp_path):
    """With Tab, in an interactive bash."""
    if not LOADER.exists():
        pytest.skip("bash-completion is not installed (Debian: apt-get install bash-completion)")
    share = tmp_path / "share"
    file = share / help_files.COMPLETION.relative_to("/usr/local/share")
    file.parent.mkdir(parents=True)
    (tmp_path / "ocsp-cgi.conf").write_text(CONFIG)
    file.write_text(completion.script(command_line.parser(), str(tmp_path / "ocsp-cgi.conf")))
    program = tmp_path / "ocsp-cgi"
    program.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    program.chmod(0o755)
    (tmp_path / ".inputrc").write_text("set enable-bracketed-paste off\n")
    (tmp_path / "bashrc").write_text(f". {LOADER}\n")
    typed = (
        f"ocsp-cgi ch\tsub\t--us\t{pwd.getpwuid(0).pw_name}\n"
        "ocsp-cgi check --config=ocsp-cgi.c\ttwo\t\nexit\n"
    )
    ran = subprocess.run(
        ["bash", "--noprofile", "--rcfile", str(tmp_path / "bashrc"), "-i"],
        input=typed,
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "XDG_DATA_DIRS": str(share),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert "<check><sub-ca><--user><root>" in ran.stdout
    assert "<check><--config=ocsp-cgi.conf><two words>" in ran.stdout
