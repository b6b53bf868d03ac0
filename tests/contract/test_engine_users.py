"""Who the program is, under every engine."""

from __future__ import annotations

import grp
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.roots import Stage, caller
from udocker.errors import EngineError, UdockerError, UsageError
from udocker.model.mount import Mount
from udocker.model.runspec import Accounts
from udocker.system.host import HostFacts


def sh(stage: Stage, script: str, **spec: object) -> str:
    return stage.output("sh", "-c", script, **spec)


def test_default_user_is_root(stage_of_others: Stage) -> None:
    assert sh(stage_of_others, "id -u; id -g; echo $HOME") == "0\n0\n/root\n"


@pytest.mark.parametrize("user", ["", "root", "0", "0:0"])
def test_default_user_is_the_caller_in_roots_home(stage_of_callers: Stage, user: str) -> None:
    uid, gid = caller()
    made = sh(stage_of_callers.image(user=user), "id -u; id -g; echo $HOME; tail -n 1 /etc/passwd").split(
        "\n"
    )
    assert made[:3] == [str(uid), str(gid), "/root"]
    assert made[3].split(":")[2:] == [str(uid), str(gid), "", "/root", "/bin/sh"]


def test_images_user_is_the_default(stage_of_others: Stage) -> None:
    made = stage_of_others.image(user="alice")
    assert sh(made, "id -u; id -g; echo $HOME") == "1234\n2345\n/home/alice\n"


def test_images_user_is_the_default_where_he_has_the_callers_number(stage: Stage) -> None:
    uid, gid = caller()
    stage.file("ROOT/etc/passwd", f"root:x:0:0:root:/root:/bin/sh\nme:x:{uid}:{gid}::/home/me:/bin/sh\n")
    for user in ("me", str(uid)):
        made = sh(stage.image(user=user), "id -u; id -un; id -g; echo $HOME")
        assert made == f"{uid}\nme\n{gid}\n/home/me\n"


@pytest.mark.parametrize("accounts", Accounts)
def test_another_user_than_the_caller_is_told(stage_of_callers: Stage, accounts: Accounts) -> None:
    uid, gid = caller()
    for user in ("root", "0", "4321", f"{uid}:{gid + 1}", f"{uid + 1}:{gid}"):
        with pytest.raises(UdockerError, match="the caller only|knows no such user") as caught:
            stage_of_callers.plan("true", user=user, accounts=accounts)
        assert caught.value.exit_status == 125
        assert isinstance(caught.value, UsageError) or "--execmode=R1" in caught.value.hint
    with pytest.raises(EngineError, match="the caller only"):
        stage_of_callers.image(user="alice").plan("true")


@pytest.mark.parametrize("number", ["", "x", "-1", "4294967295", "99999999999999999999"])
def test_a_launcher_says_of_what_is_no_user_that_it_is_none(stage: Stage, number: str) -> None:
    launch = stage.plan("true")
    for option in ("--uid", "--gid"):
        argv = list(launch.argv)
        argv[argv.index(option) + 1] = number
        result = stage.finish(replace(launch, argv=tuple(argv)))
        assert result.status == 125
        assert result.err.startswith(b"udocker: run: ")
        assert result.err.count(b"\n") == 1


def test_caller_can_stay_itself(stage: Stage) -> None:
    uid, gid = caller()
    assert sh(stage, "id -u; id -g", user=f"{uid}:{gid}") == f"{uid}\n{gid}\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("1234", "1234 2345"),
        ("4321", "4321 0"),
        ("alice:users", "1234 100"),
        ("77:88", "77 88"),
        ("0:staff", "0 2345"),
    ],
)
def test_user_is_given_by_name_or_number(stage_of_others: Stage, user: str, ids: str) -> None:
    assert sh(stage_of_others, "echo $(id -u) $(id -g)", user=user) == f"{ids}\n"


def test_a_new_name_is_the_callers_and_known_inside(stage: Stage) -> None:
    uid, gid = caller()
    facts = replace(HostFacts.read(), uid=uid, gid=gid)
    before = (stage.root / "etc/passwd").read_text()
    script = "id -u; id -un; tail -n 1 /etc/passwd"
    made = sh(stage, script, user="newcomer", facts=facts)
    assert made == f"{uid}\nnewcomer\nnewcomer:x:{uid}:{gid}::/:/bin/sh\n"
    assert (stage.root / "etc/passwd").read_text() == before


def test_a_new_name_is_known_inside_where_its_number_has_another(stage: Stage) -> None:
    uid, gid = caller()
    stage.file("ROOT/etc/passwd", f"alice:x:{uid}:{gid}:Alice:/home/alice:/bin/sh\n")
    made = sh(stage, "id -un; grep -c newcomer /etc/passwd", user="newcomer")
    assert made == "alice\n1\n"


def test_a_new_number_is_known_inside(stage_of_others: Stage) -> None:
    assert sh(stage_of_others, "id -un; id -gn", user="77:88") == "user77\nuser77\n"


def test_the_callers_number_is_known_inside_by_its_name(stage: Stage) -> None:
    uid, gid = caller()
    names = f"{pwd.getpwuid(uid).pw_name}\n{grp.getgrgid(gid).gr_name}\n"
    assert sh(stage, "id -un; id -gn", user=f"{uid}:{gid}") == names


def test_an_unterminated_last_line_is_not_joined_with_a_new_one(stage: Stage) -> None:
    stage.file("ROOT/etc/passwd", "root:x:0:0:root:/root:/bin/sh")
    uid = str(caller()[0])
    assert sh(stage, "cat /etc/passwd", user=uid).splitlines()[1].split(":")[1:3] == ["x", uid]


def test_the_containers_accounts_can_be_left_as_they_are(stage: Stage) -> None:
    with pytest.raises(UsageError, match="mallory"):
        stage.plan("true", user="mallory", accounts=Accounts.CONTAINER)
    passwd = (stage.root / "etc/passwd").read_text()
    assert sh(stage, "cat /etc/passwd", user=str(caller()[0]), accounts=Accounts.CONTAINER) == passwd


def test_the_hosts_accounts_are_shown_with_the_callers_own(stage: Stage) -> None:
    uid, gid = caller()
    facts = replace(HostFacts.read(), uid=uid, gid=gid)
    made = sh(stage, "cat /etc/passwd /etc/group", accounts=Accounts.HOST, facts=facts)
    assert made.startswith(Path("/etc/passwd").read_text())
    assert f"\n{pwd.getpwuid(uid).pw_name}:x:{uid}:{gid}:" in made
    assert f":x:{grp.getgrgid(gid).gr_gid}:" in made
    with pytest.raises(UsageError, match="no-such-user-here"):
        stage.plan("true", user="no-such-user-here", accounts=Accounts.HOST)


def test_a_bound_passwd_decides_who_the_user_is(stage: Stage) -> None:
    uid, gid = (44, 55) if stage.engine.abilities.other_users else caller()
    source = stage.file("passwd", f"carol:x:{uid}:{gid}::/home/carol:/bin/sh\n")
    mounts = (Mount(str(source), "/etc/passwd"),)
    made = sh(stage, "id -u; id -g; echo $HOME", user="carol", mounts=mounts)
    assert made == f"{uid}\n{gid}\n/home/carol\n"


def test_other_users_programs_get_no_capabilities(stage: Stage) -> None:
    assert sh(stage, "grep CapEff /proc/self/status | cut -f2", user=stage.somebody) == "0000000000000000\n"


def test_no_privileges_can_be_gained(stage: Stage) -> None:
    assert sh(stage, "grep NoNewPrivs /proc/self/status | cut -f2") == "1\n"
