"""The man pages, read by the real `man` and `mandoc`."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from ocsp_cgi import command_line, config, settings_table
from ocsp_cgi.tools import manual

NAMES = tuple(manual.PAGES)


@pytest.fixture(scope="module")
def pages():
    parser = command_line.parser()
    return {name: page.write(parser) for name, page in manual.PAGES.items()}


@pytest.fixture
def shown(pages, tmp_path):
    """shown(name) is a page as `man` shows it on 80 columns, and what it warns of."""
    if not shutil.which("man"):
        pytest.skip("man is not installed (Debian: apt-get install man-db)")

    def shown(name: str) -> tuple[str, str]:
        file = tmp_path / name
        file.write_text(pages[name])
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
        command = ["man", "--warnings=w", "--local-file", str(file)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return re.sub(".\b", "", ran.stdout), ran.stderr

    return shown


@pytest.mark.process
@pytest.mark.parametrize("name", NAMES)
def test_man_shows_it_on_80_columns(shown, name):
    text, warnings = shown(name)
    assert warnings == ""
    assert max(map(len, text.splitlines())) <= 80
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert f"\n{heading}\n" in text
    assert "`" not in text.replace("as after `| head`", "")


@pytest.mark.process
@pytest.mark.parametrize("name", NAMES)
def test_mandoc_finds_nothing(pages, name):
    """But that there is no date, which would change what is installed from day to day."""
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed (Debian: apt-get install mandoc)")
    ran = subprocess.run(
        ["mandoc", "-Tlint", "-Wstyle"], input=pages[name], capture_output=True, text=True
    )
    complaints = [line for line in (ran.stdout + ran.stderr).splitlines() if "date" not in line]
    assert complaints == []


@pytest.mark.process
def test_every_command_and_option_can_be_copied(shown):
    text = " ".join(shown("ocsp-cgi")[0].split())
    for name, parser in command_line.parser().commands().items():
        assert f" ocsp-cgi {name} [OPTION]..." in text
        for action in parser.arguments():
            for option in action.option_strings:
                assert f" {option}" in text
        for example in parser.examples:
            assert f" ocsp-cgi {example}" in text
    assert "ocsp-cgi manual ocsp-cgi.conf | man -l -" in text
    assert " 141 the reader of the output is gone, as after `| head` " in text


@pytest.mark.process
def test_every_setting(shown):
    text = " ".join(shown("ocsp-cgi.conf")[0].split())
    for known, kinds in (
        (settings_table.OF_A_CA, config.CA_SETTINGS),
        (settings_table.OF_THE_RESPONDER, config.RESPONDER_SETTINGS),
    ):
        for name, its in known.items():
            kind = kinds[name]
            value = " | ".join(kind) if isinstance(kind, tuple) else kind.replace("`", "")
            what = its.what[0].upper() + its.what[1:]
            assert f" {name} = {value} {what}.".replace("`", "") in text
            assert its.more.replace("`", "") in text
            assert not its.default or f"Default: {its.default}.".replace("`", "") in text
            is_shown = not isinstance(kind, tuple) and its.example != its.default
            assert is_shown == (f" Example: {name} = {its.example} " in text)


def test_its_example_is_a_config():
    settings = config.parse(manual.example(), config.DEFAULT_PATH)
    assert [ca.name for ca in settings.cas] == ["root-ca"] and settings.hyperlink
