"""Package managers and their kin as root of real Debians, by the engines that emulate root: they cannot tell.

Packages come from Debian's mirror, as the images did.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.base_roots import debian_root

SUITES = {
    "bullseye": ("bullseye",),
    "bookworm": ("bookworm",),
    "trixie": ("trixie", ("libpython3.13-testsuite",), "testsuite"),  # as tests/contract/images.py has it
}
PROXIES = [f"--env={name}={value}" for name, value in os.environ.items() if name.lower().endswith("_proxy")]
# Prints nothing where all goes well: whatever a program complains of is shown.
QUIET = "export DEBIAN_FRONTEND=noninteractive; set -e; "
INSTALL = "apt-get -o APT::Color=0 -o Dpkg::Use-Pty=0 -q install -y --no-install-recommends"

over_modes = pytest.mark.parametrize("mode", ["T1", "T2", "P1", "P2"])

SPECIFICATION = """
Name: owned
Version: 1
Release: 1
Summary: Files of several owners
License: none
BuildArch: noarch
%description
None.
%install
mkdir -p %{buildroot}/opt/owned
echo program > %{buildroot}/opt/owned/program
echo data > %{buildroot}/opt/owned/data
%files
%dir %attr(2770, root, www-data) /opt/owned
%attr(4755, root, root) /opt/owned/program
%attr(0640, games, mail) /opt/owned/data
"""


def make(udocker: Commands, suite: str, mode: str) -> None:
    """A container of a Debian's root, in an execution mode."""
    archive = debian_root(*SUITES[suite])
    udocker.good("import", str(archive), f"test/{suite}:1")
    udocker.good("create", "--name=box", f"test/{suite}:1")
    udocker.good("setup", f"--execmode={mode}", "box")


def sh(udocker: Commands, script: str, *options: str) -> str:
    result = udocker("run", *PROXIES, *options, "box", "sh", "-c", QUIET + script)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@over_modes
@pytest.mark.parametrize("suite", SUITES)
def test_packages_of_services_are_installed_and_removed(udocker: Commands, suite: str, mode: str) -> None:
    make(udocker, suite, mode)
    shown = sh(udocker, f"apt-get -q update 2>&1 && {INSTALL} openssh-server cron nginx-light 2>&1")
    for trouble in ("\nW: ", "\nE: ", "ermission denied", "not permitted", "dpkg: error", "warning: "):
        assert trouble not in shown, shown
    # A later run sees what the packages' programs made of their files, and who they are.
    assert (
        sh(udocker, "dpkg-query -W -f '${db:Status-Status} ' openssh-server cron nginx-light")
        == "installed " * 3
    )
    found = sh(
        udocker, "stat -c '%U:%G %a' /usr/bin/crontab /var/spool/cron/crontabs /etc/shadow /var/log/nginx"
    )
    assert found.splitlines() == [
        "root:crontab 2755",
        "root:crontab 1730",
        "root:shadow 640",
        "root:adm 755",
    ]
    script = (
        "id -un sshd; mkdir -p /run/sshd; /usr/sbin/sshd -t; cd /etc/nginx/sites-enabled; sed -i s/80/8099/ *"
    )
    assert sh(udocker, f"{script}; nginx -qt 2>&1") == "sshd\n"
    changed = sh(udocker, "dpkg -V openssh-server cron nginx-light").splitlines()
    assert [line for line in changed if "/usr/share/" not in line and "sites" not in line] == []
    sh(udocker, "apt-get -q purge -y cron 2>&1")
    assert sh(udocker, "test -e /usr/bin/crontab || echo gone") == "gone\n"
    _check_host(udocker)


def _top(udocker: Commands) -> Path:
    (top,) = {path.resolve() for path in (udocker.store / "containers").glob("*/ROOT")}
    return top


def _check_host(udocker: Commands) -> None:
    """All of it is the user's, and none of it lends that to others or keeps the user out."""
    wrong = [
        "!",
        "-user",
        str(udocker.user.uid),
        "-o",
        "!",
        "-type",
        "l",
        "(",
        "-perm",
        "/6000",
        "-o",
        "!",
        "-perm",
        "-600",
        ")",
    ]
    listed = subprocess.run(["find", _top(udocker), *wrong], capture_output=True, text=True, check=True)
    assert listed.stdout == ""


@pytest.mark.parametrize(
    ("suite", "mode"), [("bullseye", "T1"), ("bookworm", "T2"), ("trixie", "T2"), ("bookworm", "P1")]
)
def test_the_tools_of_an_administrator_work(udocker: Commands, suite: str, mode: str) -> None:
    make(udocker, suite, mode)
    assert sh(udocker, "stat -c '%U:%G %a' /var/mail /etc/shadow /bin/su").splitlines() == [
        "root:mail 2775",
        "root:shadow 640",
        "root:root 4755",
    ]
    assert (
        sh(udocker, "su -s /bin/sh -c id nobody")
        == "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n"
    )
    sh(
        udocker,
        "useradd -m -G mail,games -s /bin/bash anna; groupadd team; usermod -aG team anna; chfn -f Anna anna",
    )
    assert sh(udocker, "id -Gn anna; stat -c %U:%G /home/anna /home/anna/.bashrc").splitlines() == [
        "anna mail games team",
        *["anna:anna"] * 2,
    ]
    script = "cd; echo x >mine; stat -c %U:%G mine; chown root mine 2>&1 || true; passwd -S | head -c 6"
    assert sh(udocker, f"su - anna -c '{script}'").splitlines() == [
        "anna:anna",
        "chown: changing ownership of 'mine': Operation not permitted",
        "anna L",
    ]
    assert (
        sh(udocker, "stat -c %U /home/anna/mine; id -un; echo $HOME", "--user=anna")
        == "anna\nanna\n/home/anna\n"
    )
    sh(udocker, "install -o games -g mail -m 2750 /bin/true /opt/p; install -d -o 33 -m 700 /opt/d")
    assert sh(udocker, "stat -c '%U:%G %a' /opt/p /opt/d") == "games:mail 2750\nwww-data:root 700\n"
    sh(udocker, "userdel -r anna 2>&1")
    assert sh(udocker, "id anna >/dev/null 2>&1 || ls /home") == ""
    shown = sh(
        udocker, "setpriv --reuid=33 --regid=33 --init-groups --inh-caps=-all id; setpriv -d | head -n 2"
    )
    assert shown == "uid=33(www-data) gid=33(www-data) groups=33(www-data)\nuid: 0\neuid: 0\n"


@over_modes
def test_an_archive_of_several_owners_is_unpacked_as_it_was(udocker: Commands, mode: str) -> None:
    make(udocker, "bookworm", mode)
    before = sh(
        udocker,
        "cd /tmp; mkdir -p t/sub; cd t; echo x >one; echo y >sub/two; ln one hard; ln -s one link;"
        "mknod dev b 8 1;"
        "chown 7:8 one; chown -R 9:10 sub; chmod 4755 one; chmod 0 sub/two; chmod 2700 sub;"
        "tar -C /tmp -czf ../t.tar.gz t; find . -printf '%p %y %m %U:%G %s %n\\n' | sort",
    )
    assert "./one f 4755 7:8 2 2\n" in before
    after = sh(
        udocker,
        "mkdir /tmp/x; cd /tmp/x; tar xpf ../t.tar.gz; cd t; find . -printf '%p %y %m %U:%G %s %n\\n' | sort",
    )
    assert after == before
    _check_host(udocker)


def test_rpm_builds_installs_and_verifies_a_package(udocker: Commands) -> None:
    make(udocker, "bookworm", "T2")
    sh(udocker, f"apt-get -q update 2>&1 && {INSTALL} rpm 2>&1")
    specification = _top(udocker) / "opt/owned.spec"
    specification.write_text(SPECIFICATION)
    specification.chmod(0o644)
    sh(udocker, "rpmbuild -bb --define '_topdir /tmp/build' /opt/owned.spec 2>&1; rpm --initdb")
    sh(udocker, "rpm -i --nodeps /tmp/build/RPMS/noarch/*.rpm 2>&1")
    assert sh(udocker, "rpm -q owned; rpm -V owned") == "owned-1-1.noarch\n"
    assert sh(udocker, "cd /opt; stat -c '%U:%G %a' owned owned/program owned/data").splitlines() == [
        "root:www-data 2770",
        "root:root 4755",
        "games:mail 640",
    ]
    assert "U" in sh(udocker, "chown mail /opt/owned/data; rpm -V owned || true").split()[0]
