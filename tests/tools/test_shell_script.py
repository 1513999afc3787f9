"""Shell scripts from cgi-bin in the styles that people write them, read without being run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_cgi.tools import shell_script, shell_words

SCRIPT = Path("/usr/lib/cgi-bin/ocsp.cgi")
FILES = {
    "db": "/root/ca/db/index",
    "ca": "/etc/ssl/certs/root-ca.crt",
    "rkey": "/etc/ssl/private/root-ocsp.key",
    "rsigner": "/etc/ssl/certs/root-ocsp.crt",
}
ALL = {**FILES, "nmin": "5", "hyperlink": "https://pki.example.com/"}

VARIABLES = r"""#!/bin/bash
# OCSP responder CGI
INDEX="/root/ca/db/index"
CA="/etc/ssl/certs/root-ca.crt"
RKEY="/etc/ssl/private/root-ocsp.key"
RSIGNER="/etc/ssl/certs/root-ocsp.crt"
HYPERLINK="https://pki.example.com/"
if [ "${CONTENT_TYPE}" = "application/ocsp-request" ]; then
  printf "Content-Type: application/ocsp-response\r\n\r\n"
  cat | openssl ocsp -index "$INDEX" -CA "$CA" -rkey "$RKEY" -rsigner "$RSIGNER" -nmin 5 \
    -reqin /dev/stdin -respout /dev/stdout | cat
else printf "Content-Type: text/html\r\n\r\n<html>...<a href=\"${HYPERLINK}\">...</html>"; fi
"""
LITERAL = """#!/bin/sh
case "$REQUEST_METHOD" in
    POST|PUT) echo 'Content-Type: application/ocsp-response'; echo
      exec /usr/bin/openssl ocsp -reqin - -index /root/ca/db/index \\
          -CA   /etc/ssl/certs/root-ca.crt   -rkey '/etc/ssl/private/root-ocsp.key' \\
          -rsigner /etc/ssl/certs/"root-ocsp.crt" -nmin 5 -respout - 2>/dev/null ;;
    *) cat <<-"HTML"
\tContent-Type: text/html

\t<a href='https://pki.example.com/'>openssl ocsp -index /not/this -CA /one</a>
\tHTML
esac
"""
FUNCTION = """#!/usr/bin/env bash
set -euo pipefail
readonly DIR=/etc/ssl
declare -r OPENSSL="${OPENSSL:-openssl}"   # the command
ARGS=( -index /root/ca/db/index    # index
       -CA "${DIR}/certs/root-ca.crt" )
ARGS+=(-rsigner $DIR/certs/root-ocsp.crt)
respond() {
    local key=$DIR/private/root-ocsp.key
    answer=$(mktemp)
    timeout 10 "$OPENSSL" ocsp "${ARGS[@]}" -rkey "$key" -nmin 5 -reqin <(cat) -respout "$answer"
    cat "$answer"; rm -f "$answer"
}
if [[ $REQUEST_METHOD == POST ]] && true; then respond; exit 0; fi
LINK=https://pki.example.com/
"""
WORDS = """#!/bin/sh
OPTS="-index /root/ca/db/index -CA /etc/ssl/certs/root-ca.crt -nmin 5"
cd /etc/ssl/certs || exit 1
export OPTS RSIGNER=root-ocsp.crt
echo "<a href=https://pki.example.com/>"
RESPONSE=`openssl ocsp $OPTS -rsigner $RSIGNER -rkey ../private/root-ocsp.key -reqin -`
"""


@pytest.mark.parametrize("text", [VARIABLES, LITERAL, FUNCTION, WORDS])
def test_styles(text):
    for spelled in (text, text.replace("\n", "\r\n")):
        assert shell_script.read(SCRIPT, spelled) == (
            ALL,
            shell_script.read(SCRIPT, text).lines,
            [],
        )


def test_the_line_of_each_setting_is_told():
    lines = shell_script.read(SCRIPT, VARIABLES).lines
    assert lines == {**dict.fromkeys((*FILES, "nmin"), 10), "hyperlink": 7}
    assert shell_script.read(SCRIPT, WORDS).lines["rkey"] == 6


LINE = "openssl ocsp -index /i -CA /c -rsigner /s "


@pytest.mark.parametrize(
    "options, settings",
    [
        ("-rkey /k -ndays 1", {"rkey": "/k", "nmin": "1440"}),
        ("-rkey /k -ndays 1 -nmin 5", {"rkey": "/k", "nmin": "1445"}),
        ("-rkey /k -nmin 0", {"rkey": "/k"}),
        ("", {"rkey": "/s"}),  # as openssl does
        ("--rkey /k", {"rkey": "/k"}),
        ("-rkey /k -passin file:/p", {"rkey": "/k", "passin": "/p"}),
        ("-rkey key.pem", {"rkey": "/usr/lib/cgi-bin/key.pem"}),
        ('-rkey "$(dirname "$0")/../key.pem"', {"rkey": "/usr/lib/key.pem"}),
        ('-rkey "${0%/*}/key.pem"', {"rkey": "/usr/lib/cgi-bin/key.pem"}),
        ("-rkey ${KEY:-/k}", {"rkey": "/k"}),
        (r"-rkey /a\ key", {"rkey": "/a key"}),
    ],
)
def test_options(options, settings):
    read = shell_script.read(SCRIPT, LINE + options)
    assert read.settings == {"db": "/i", "ca": "/c", "rsigner": "/s", **settings}
    assert read.notes == []


@pytest.mark.parametrize(
    "text, line, why",
    [
        (LINE + '-rkey "$KEY"', 1, "the script does not set $KEY"),
        ("\nKEY=`cat /key`\n" + LINE + "-rkey $KEY", 3, "only the shell knows what `cat /key` is"),
        ("if true; then KEY=/a; else KEY=/b; fi\n" + LINE + "-rkey $KEY", 2, "different values"),
        (". /etc/default/ocsp\n" + LINE + "-rkey /k", 1, "another file, which was not read"),
        (LINE + "-rkey /k\n\nlogger 'asked'", 3, "does nothing of this kind"),
        (LINE + "-rkey /k -passin pass:secret", 1, "name it with --passin"),
        (LINE + "-rkey /k -nmin soon", 1, "not a number"),
        (LINE + "-rkey /k -rmd sha512", 1, "signs with SHA-256"),
        (LINE + "-rkey /k -novelty", 1, "not an option of a responder"),
        (LINE + "-rkey /k\n" + LINE + "-rkey /l", 2, "a second responder"),
    ],
)
def test_what_cannot_be_taken_over_is_told_with_its_line(text, line, why):
    [note] = [note for note in shell_script.read(SCRIPT, text).notes if why in note.why]
    assert note.line == line and "secret" not in note.text


def test_a_variable_that_is_not_known_gives_no_setting():
    read = shell_script.read(SCRIPT, LINE + "-rkey $KEY")
    assert read.settings == {"db": "/i", "ca": "/c", "rsigner": "/s"}


def test_without_a_pipeline_the_variables_are_used():
    text = VARIABLES.replace("openssl ocsp", "/usr/local/bin/ocsp-respond")
    read = shell_script.read(SCRIPT, text)
    assert read.settings == {**FILES, "hyperlink": "https://pki.example.com/"}
    assert [note.line for note in read.notes] == [10]


def test_a_key_that_is_a_uri():
    """As with a provider that openssl.cnf activates."""
    text = LITERAL.replace("/etc/ssl/private/root-ocsp.key", "pkcs11:token=ocsp;object=root-ocsp")
    found = shell_script.read(SCRIPT, text)
    assert found.settings["rkey"] == "pkcs11:token=ocsp;object=root-ocsp"


def test_nothing_is_run(tmp_path):
    shell_script.read(SCRIPT, f"touch {tmp_path}/x; $(touch {tmp_path}/x)\n`touch {tmp_path}/x`")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [VARIABLES, LITERAL, FUNCTION, WORDS])
def test_text_that_breaks_off_anywhere_is_read(text):
    for length in range(len(text)):
        shell_script.read(SCRIPT, text[:length])


def test_comments_and_quotes():
    words = [
        ["".join(part.text for part in word.parts) for word in command.words]
        for command in shell_words.commands('a#b \'c # d\' "e\\"f" # openssl ocsp\ng\\\nh')
    ]
    assert words == [["a#b", "c # d", 'e"f'], ["gh"]]
