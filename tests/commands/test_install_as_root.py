"""The installer, really run as root: on this Debian, and on one made to look like RHEL."""

from __future__ import annotations

import shutil

import pytest
from installed import install_wheel
from machine import NAME, RHEL, WELL

from ocsp_cgi.tools import entry

pytestmark = [pytest.mark.slow, pytest.mark.root]


def test_install_and_uninstall(new_machine, pki):
    machine = new_machine("pip and network")
    before = machine.listing

    dry = machine.install("--dry-run", "--server-name", NAME)
    assert machine.listing == before
    assert dry.stdout.startswith("This would be done:\n")
    planned = dry.stdout.splitlines()[1:]

    first = machine.install("--server-name", NAME, check=False)
    assert first.returncode == 1
    done = [line for line in first.stdout.splitlines() if line in planned]
    assert done == planned  # what was announced, and in that order
    assert (
        "cryptography " in first.stdout
        and "distribution's python3-cryptography 3" not in first.stdout
    )
    assert "\nStill to be done:\n" in first.stdout
    assert first.stdout.endswith("\nThen run this command again.\n")
    for name in ("root-ocsp.key", "root-ocsp.crt", "root-ca.crt", "db/index"):
        assert f"  /etc/ssl/ocsp/{name}: the " in first.stdout
    assert "openssl req -new -newkey ec" in first.stdout and "-extensions ocsp_ext" in first.stdout

    machine.bring_files(pki)
    second = machine.install()
    for line in (
        "  chown root:www-data, chmod 640: /etc/ssl/ocsp/root-ocsp.key (was root:root 600)",
        "  chown root:root, chmod 644: /etc/ssl/ocsp/root-ca.crt (was root:root 600)",
        "  chown root:www-data, chmod 640: /etc/ssl/ocsp/db/index (was root:root 600)",
        WELL.rstrip(),
    ):
        assert line in second.stdout.splitlines(), second.stdout
    installed = machine.listing

    assert "Apache has been reloaded" not in second.stdout
    third = machine.install().stdout
    assert third == f"Nothing to change: everything is in place.\n{WELL}"
    dry = machine.install("--dry-run").stdout
    assert dry == "Nothing would change: everything is in place.\n"
    assert [line for line in machine.listing if "/cache/" not in line] == [
        line for line in installed if "/cache/" not in line
    ]

    # as www-data, with the environment's cryptography, byte-compiled
    log = machine.sh("cat /var/log/apache2/error.log /var/log/apache2/other_vhosts_access.log")
    assert log.count(" status=good ca=root-ca nonce=16 ") == 4, log
    assert (
        machine.sh("ps -o user= -C apache2 | sort | uniq -c | sort -n | tail -1").split()[1]
        == "www-data"
    )
    assert machine.sh("head -1 /opt/ocsp-cgi/ocsp.cgi") == "#!/opt/ocsp-cgi/bin/python3 -EsS\n"
    assert "/opt/ocsp-cgi/ocsp_cgi/__pycache__/cgi.cpython-" in "".join(installed)
    machine.sh(
        "/opt/ocsp-cgi/bin/python3 -c 'import cryptography; assert"
        ' int(cryptography.__version__.split(".")[0]) > 40\''
    )
    machine.sh("cd / && /opt/ocsp-cgi/bin/python3 -m ocsp_cgi --version")
    share = "/usr/local/share"
    pages = [f"{share}/man/man1/ocsp-cgi.1", f"{share}/man/man5/ocsp-cgi.conf.5"]
    machine.sh(f"ls {' '.join(pages)}")
    if shutil.which("man"):
        assert machine.sh("man --where ocsp-cgi ocsp-cgi.conf").splitlines() == pages
    completion = machine.sh(f"cat {share}/bash-completion/completions/ocsp-cgi")
    assert completion == machine.sh("/usr/local/sbin/ocsp-cgi manual bash-completion")
    query = (
        "openssl ocsp -no_nonce -issuer root-ca.crt -CAfile root-ca.crt -cert good.crt -url"
        " http://127.0.0.1/cgi-bin/ocsp.cgi"
    )
    assert "good.crt: good" in machine.sh(f"cd {pki.home} && {query} -header Host={NAME}")
    assert ".ocsp" in machine.sh("ls -R /var/cache/ocsp-cgi")

    # who may read what
    paths = "ocsp ocsp/db ocsp/root-ocsp.key ocsp/db/index ocsp-cgi.conf /var/cache/ocsp-cgi"
    assert (
        machine.sh(f"cd /etc/ssl && stat -c '%a %U:%G %n' {paths}")
        == "750 root:www-data ocsp\n750 root:www-data ocsp/db\n640 root:www-data"
        " ocsp/root-ocsp.key\n640 root:www-data ocsp/db/index\n644 root:root ocsp-cgi.conf\n750"
        " www-data:www-data /var/cache/ocsp-cgi\n"
    )

    dry = machine.install("--uninstall", "--dry-run")
    assert "  remove the link /usr/lib/cgi-bin/ocsp.cgi\n" in dry.stdout
    assert [line for line in machine.listing if "/cache/" not in line] == [
        line for line in installed if "/cache/" not in line
    ]
    gone = machine.install("--uninstall")
    assert "\n  /etc/ssl/ocsp/root-ocsp.key\n    rm /etc/ssl/ocsp/root-ocsp.key\n" in gone.stdout
    own = ("/etc/ssl/ocsp ", "/etc/ssl/ocsp/")
    assert "left" not in gone.stdout, gone.stdout
    assert [line for line in machine.listing if not line.startswith(own)] == [
        line for line in before if not line.startswith(own)
    ]
    assert {line.split()[0] for line in machine.listing if line.startswith("/etc/ssl/ocsp/")} == {
        f"/etc/ssl/ocsp/{name}"
        for name in ("db", "db/index", "root-ca.crt", "root-ocsp.crt", "root-ocsp.key")
    }
    assert machine.install("--uninstall").stdout.endswith("Nothing to undo.\n")
    assert (
        machine.run(
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://127.0.0.1/cgi-bin/ocsp.cgi",
        ).stdout
        == "404"
    )


def test_it_is_well_only_if_check_agrees(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.install("--server-name", NAME)
    site = "/etc/apache2/sites-available/ocsp-cgi.conf"
    machine.sh(f"cp {site} /var/site.conf")
    for edit, message in (
        (
            "/AllowEncodedSlashes/d",
            "HTTP status 404: `AllowEncodedSlashes NoDecode` is missing in the virtual host",
        ),
        (
            "/Require all granted/s/granted/denied/",
            "HTTP status 403: `Require all denied` in <Directory /usr/lib/cgi-bin> keeps clients",
        ),
        (
            (
                "s|ScriptAlias .*|Alias /cgi-bin/ocsp.cgi /opt/ocsp-cgi/ocsp.cgi\\n<Directory"
                " /opt>\\nRequire all granted\\n</Directory>|"
            ),
            "`Alias` shows the script instead of running it: use ScriptAlias",
        ),
        (
            "s|TraceEnable off|Redirect / https://elsewhere.example/|",
            "HTTP status 302, a redirect to https://elsewhere.example/: `Redirect / https://",
        ),
        (
            's/ocsp-cgi.conf"/nowhere.conf"/',
            "internalError: ocsp.cgi says in the log: /etc/ssl/nowhere.conf: No such file",
        ),
    ):
        machine.sh(f"cp /var/site.conf {site}; sed -i '{edit}' {site}; apachectl restart")
        run = machine.install(check=False)
        assert (run.returncode, run.stderr) == (entry.CRITICAL, "")
        assert message in run.stdout, f"{edit}: {run.stdout}"
        assert run.stdout.endswith(
            "\nAll is installed, but `ocsp-cgi check` has found the above.\n"
        )
        assert f"{site}: left as it is" in run.stdout
    machine.sh("apachectl stop; while [ -e /run/apache2/apache2.pid ]; do sleep 0.1; done")
    run = machine.install(check=False)
    assert run.returncode == entry.CRITICAL
    assert "connection refused at 127.0.0.1 port 80: Apache does not run" in run.stdout


@pytest.mark.parametrize(
    "has, reason", [("pip", "No matching distribution found for cryptography"), ("", "ensurepip")]
)
def test_without_pip_or_network_the_distributions_cryptography_is_used(
    new_machine, pki, has, reason
):
    machine = new_machine(has)
    machine.bring_files(pki)
    run = machine.install("--server-name", NAME)
    assert reason in run.stdout
    assert "Using the distribution's python3-cryptography 3" in run.stdout
    assert WELL in run.stdout
    assert machine.sh("head -1 /opt/ocsp-cgi/ocsp.cgi") == "#!/usr/bin/python3 -EsS\n"
    assert machine.install().stdout.startswith("Nothing to change")
    machine.sh("rm -rf /usr/lib/python3/dist-packages/cryptography*")
    run = machine.install(check=False)
    assert run.returncode == 1 and "apt-get install python3-cryptography" in run.stderr


def test_files_of_the_operator_are_neither_overwritten_nor_lost(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.sh("echo '#!/bin/sh' >/usr/lib/cgi-bin/ocsp.cgi")
    for _ in range(2):
        run = machine.install("--server-name", NAME, check=False)
        assert run.returncode == 1
        assert "  /usr/lib/cgi-bin/ocsp.cgi: another program, perhaps your old script" in run.stdout
        assert "\n    ocsp-cgi migrate /usr/lib/cgi-bin/ocsp.cgi\n" in run.stdout
        assert machine.sh("cat /usr/lib/cgi-bin/ocsp.cgi") == "#!/bin/sh\n"
    machine.install("--uninstall")
    machine.sh("mv /usr/lib/cgi-bin/ocsp.cgi /var/script")

    machine.sh("mkdir -p /opt/ocsp-cgi && echo mine >/opt/ocsp-cgi/notes")
    run = machine.install("--server-name", NAME, check=False)
    assert run.returncode == 1 and "/opt/ocsp-cgi: not empty, and not an installation" in run.stderr

    config = (
        "[mine]\ndb = ocsp/db\nca = ocsp/root-ca.crt\nrsigner = ocsp/root-ocsp.crt\nrkey ="
        " ocsp/root-ocsp.key\n"
    )
    machine.sh(
        f"printf '{config}' >/etc/ssl/ocsp-cgi.conf; echo '# mine'"
        " >/etc/apache2/sites-available/ocsp-cgi.conf"
    )
    run = machine.install("--server-name", NAME, "--prefix", "/opt/other", check=False)
    assert "/etc/ssl/ocsp-cgi.conf: the config exists, and is left as it is\n" in run.stdout
    assert "/etc/apache2/sites-available/ocsp-cgi.conf: left as it is" in run.stdout
    machine.sh("cp /etc/ssl/ocsp-cgi.conf /etc/ssl/copy.conf")
    machine.install("--uninstall", "--prefix", "/opt/other")
    paths = "/etc/ssl/ocsp-cgi.conf /etc/apache2/sites-available/ocsp-cgi.conf /opt/ocsp-cgi/notes"
    assert machine.sh(f"cat {paths}") == config + "# mine\nmine\n"

    machine.sh("rm /etc/ssl/ocsp-cgi.conf /etc/apache2/sites-available/ocsp-cgi.conf")
    machine.install("--server-name", NAME, "--prefix", "/opt/other")
    machine.sh("echo 'nmin = 30' >>/etc/ssl/ocsp-cgi.conf")
    assert machine.install("--prefix", "/opt/other").stdout.startswith("Nothing to change")
    gone = machine.install("--uninstall", "--prefix", "/opt/other").stdout
    assert "/etc/ssl/ocsp-cgi.conf: left as it is, because it has been changed\n" in gone
    assert machine.sh("tail -1 /etc/ssl/ocsp-cgi.conf; ls /opt").startswith("nmin = 30\n")


def test_a_new_version_replaces_the_old(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.install("--server-name", NAME)
    machine.sh(
        "echo '# old' >>/opt/ocsp-cgi/ocsp_cgi/page.py; echo '# old' >>/opt/ocsp-cgi/ocsp.cgi"
    )
    run = machine.install()
    assert [
        line
        for line in run.stdout.splitlines()
        if line.startswith("  ") and "/" in line and "http:" not in line
    ] == [
        "  copy the package to /opt/ocsp-cgi/ocsp_cgi, byte-compiled",
        "  write /opt/ocsp-cgi/ocsp.cgi, with that Python in its first line",
    ]
    assert machine.sh("grep -r '# old' /opt/ocsp-cgi || echo none") == "none\n"
    run = machine.install("--server-name", "other.example.com")
    assert "  write /etc/apache2/sites-available/ocsp-cgi.conf\n" in run.stdout
    assert "Apache has been reloaded.\n" + WELL in run.stdout


def test_install_from_the_wheel(new_machine, workspace, pki):
    directory = workspace / "wheel-as-root"
    directory.mkdir()
    command = str(install_wheel(directory) / "bin" / "ocsp-cgi")
    machine = new_machine()
    machine.bring_files(pki)
    run = machine.run(command, "install", "--server-name", NAME)
    assert WELL in run.stdout, run.stdout
    assert machine.sh("head -1 /opt/ocsp-cgi/ocsp.cgi") == "#!/usr/bin/python3 -EsS\n"
    assert machine.run(command, "install").stdout.startswith("Nothing to change")
    machine.run(command, "install", "--uninstall")
    machine.sh("test ! -e /opt/ocsp-cgi && test ! -e /usr/lib/cgi-bin/ocsp.cgi")


def test_layout_of_rhel(new_machine, pki):
    """RHEL's directories, users and files, but Debian's httpd; neither SELinux nor dnf's Python."""
    machine = new_machine("pip and network")
    machine.sh(RHEL)
    machine.bring_files(pki)
    before = machine.listing
    run = machine.install("--server-name", NAME)
    assert WELL in run.stdout, run.stdout
    assert (
        machine.sh("cd /etc/ssl && stat -c '%a %U:%G' ocsp ocsp/root-ocsp.key /var/cache/ocsp-cgi")
        == "750 root:apache\n640 root:apache\n750 apache:apache\n"
    )
    assert (
        machine.sh("readlink /var/www/cgi-bin/ocsp.cgi; ls /etc/httpd/conf.d")
        == "/opt/ocsp-cgi/ocsp.cgi\nocsp-cgi.conf\n"
    )
    assert machine.install().stdout.startswith("Nothing to change")
    machine.install("--uninstall")
    own = ("/etc/ssl/ocsp",)
    assert [line for line in machine.listing if not line.startswith(own)] == [
        line for line in before if not line.startswith(own)
    ]


def test_without_apache(new_machine):
    machine = new_machine()
    machine.sh("rm -rf /etc/apache2")
    run = machine.install("--server-name", NAME, check=False)
    assert (
        run.returncode == 1
        and run.stderr.startswith("python3 -m ocsp_cgi: Apache is not installed")
        and "apt-get install apache2" in run.stderr
    )
