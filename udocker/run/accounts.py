"""The users and groups that the program sees: itself among them, whatever the image knows."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable, Mapping

from udocker.engine.base import Abilities, ExtendedFile, Identity
from udocker.errors import EngineError, StoreCorrupt, UsageError
from udocker.model.runspec import Accounts, RunSpec
from udocker.run.identity import GROUP, PASSWD, AccountFiles
from udocker.system.files import is_directory, is_file
from udocker.system.host import HostFacts
from udocker.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath


# How an image says that its program is root, which is also what one means that says nothing.
_ROOT = ("", "0", "root")


def plan_accounts(
    root: StrPath,
    spec: RunSpec,
    user: str,
    elsewhere: Mapping[str, str],
    facts: HostFacts,
    abilities: Abilities,
) -> tuple[Identity, tuple[ExtendedFile, ...]]:
    """Who ``user`` is, and what is shown at /etc/passwd and /etc/group for it.

    An engine without other users runs the program as the caller where nobody asked for somebody else: root by
    default is the caller then, with root's home.  One that emulates them keeps to the caller where his number
    is asked for without a group.  ``elsewhere`` are files of the host that the container has at these two
    places already.  Raises UsageError for an unknown user, EngineError for one that the engine cannot be,
    StoreCorrupt for files that cannot be read.
    """
    by_default = not (abilities.other_users or spec.user) and user.partition(":")[0] in _ROOT
    wanted = f"{facts.uid}:{facts.gid}" if by_default else user
    identity, files = _accounts(root, spec, wanted, elsewhere, facts, by_default)
    if abilities.other_users and not abilities.emulates_users:
        return identity, files
    if identity.uid == facts.uid and identity.gid != facts.gid and ":" not in wanted:
        # A group that the files tell, and nobody asked for.
        identity, files = _accounts(root, spec, f"{wanted}:{facts.gid}", elsewhere, facts)
    if not abilities.other_users and (identity.uid, identity.gid) != (facts.uid, facts.gid):
        raise EngineError(
            f"run: user {user!r}: is {identity.uid}:{identity.gid}, and this execution mode runs programs as "
            f"the caller only, {facts.uid}:{facts.gid}",
            f"--execmode=R1, or udocker setup --execmode=R1, has other users; --user={facts.uid} is you",
        )
    return identity, files


def _accounts(
    root: StrPath,
    spec: RunSpec,
    user: str,
    elsewhere: Mapping[str, str],
    facts: HostFacts,
    for_root: bool = False,
) -> tuple[Identity, tuple[ExtendedFile, ...]]:
    """The same for any user; ``for_root`` says that it stands for root, and lives there without an entry."""
    bound = {mount.target: mount.source for mount in spec.mounts if mount.target in (PASSWD, GROUP)}
    if any(is_file(path) for path in bound.values()):  # of others the engine tells that they cannot be bound
        return _find(AccountFiles(root, {**elsewhere, **bound}), user, for_root)[0], ()
    if spec.accounts is Accounts.CONTAINER:
        return _find(AccountFiles(root, elsewhere), user, for_root)[0], ()
    if spec.accounts is Accounts.HOST:
        identity = _host_caller(facts) if for_root else _host_identity(user)
        return identity, _host_files(identity, facts)
    files = AccountFiles(root, elsewhere, (facts.uid, facts.gid))
    identity, is_known = _find(files, user, for_root)
    return _extended(files, identity, is_known, spec, facts)


def _find(files: AccountFiles, user: str, for_root: bool) -> tuple[Identity, bool]:
    identity, is_known = files.find(user)
    if for_root and not is_known:
        identity = replace(identity, home=files.identity("0").home)
    return identity, is_known


def _extended(
    files: AccountFiles, identity: Identity, is_known: bool, spec: RunSpec, facts: HostFacts
) -> tuple[Identity, tuple[ExtendedFile, ...]]:
    """The container's files with the lines that they lack; what is not there at all is left so."""
    made = []
    try:
        if not is_known and files.has(PASSWD):
            name = identity.name or _new_name(files, identity.uid, facts)
            home = (spec.bind_home and _home_of(facts.uid)) or identity.home
            identity = replace(identity, home=home, name=name)
            made.append(ExtendedFile(PASSWD, f"{name}:x:{identity.uid}:{identity.gid}::{home}:/bin/sh\n"))
        if not files.has_group(identity.gid) and files.has(GROUP):
            made.append(ExtendedFile(GROUP, f"{_new_group(files, identity, facts)}:x:{identity.gid}:\n"))
    except StoreCorrupt:
        pass  # a file that nobody can read, and that nobody asked for: the program may do without
    return identity, tuple(made)


def _new_name(files: AccountFiles, uid: int, facts: HostFacts) -> str:
    entry = _user(uid) if uid == facts.uid else None
    if entry is not None and not files.has_user(uid, entry.pw_name):
        return entry.pw_name
    return f"user{uid}"


def _new_group(files: AccountFiles, identity: Identity, facts: HostFacts) -> str:
    entry = _group(identity.gid) if identity.gid == facts.gid else None
    for name in (entry.gr_name if entry is not None else "", identity.name):
        if name and not files.has_group(identity.gid, name):
            return name
    return f"group{identity.gid}"


def host_home(uid: int) -> str:
    """The home directory of a user of this host; raises UsageError where there is none."""
    home = _home_of(uid)
    if not home or not is_directory(home):
        raise UsageError(f"run: --bindhome: {home or 'this user'}: no such directory on this host")
    return home


def _home_of(uid: int) -> str:
    entry = _user(uid)
    return entry.pw_dir if entry is not None else ""


def _host_identity(user: str) -> Identity:
    name, colon, group = user.partition(":")
    entry = _user(int(name)) if _is_number(name) else _named(name or "root")
    if entry is None:
        raise UsageError(f"user: {name!r}: this host knows no such user", "leave out --hostauth")
    gid = _host_group(group) if colon else entry.pw_gid
    return Identity(entry.pw_uid, gid, entry.pw_dir or "/", entry.pw_name)


def _host_caller(facts: HostFacts) -> Identity:
    entry = _user(facts.uid)
    name, home = (entry.pw_name, entry.pw_dir) if entry is not None else ("", "")
    return Identity(facts.uid, facts.gid, home or "/", name)


def _host_group(text: str) -> int:
    if _is_number(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(f"group: {text!r}: this host knows no such group", "give its number") from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _host_files(identity: Identity, facts: HostFacts) -> tuple[ExtendedFile, ...]:
    """The host's two files, and what its directory service alone knows: the program's user and the caller."""
    here = AccountFiles("/")
    users = {uid: _user(uid) for uid in (identity.uid, facts.uid)}
    groups = {gid: _group(gid) for gid in (identity.gid, facts.gid)}
    lines = [_passwd_line(entry) for uid, entry in users.items() if entry and not here.has_user(uid)]
    more = [_group_line(entry) for gid, entry in groups.items() if entry and not here.has_group(gid)]
    return (
        ExtendedFile(PASSWD, "".join(lines), PASSWD),
        ExtendedFile(GROUP, "".join(more), GROUP),
    )


def _passwd_line(entry: pwd.struct_passwd) -> str:
    numbers = (str(entry.pw_uid), str(entry.pw_gid))
    return _line((entry.pw_name, "x", *numbers, entry.pw_gecos, entry.pw_dir, entry.pw_shell))


def _group_line(entry: grp.struct_group) -> str:
    return _line((entry.gr_name, "x", str(entry.gr_gid), ""))


def _line(texts: Iterable[str]) -> str:
    """A line of a file; a directory service could deliver what would break it."""
    return ":".join(text.replace(":", " ").replace("\n", " ") for text in texts) + "\n"


def _user(uid: int) -> Optional[pwd.struct_passwd]:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None  # a cluster's nodes need not know every user


def _named(name: str) -> Optional[pwd.struct_passwd]:
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None


def _group(gid: int) -> Optional[grp.struct_group]:
    try:
        return grp.getgrgid(gid)
    except KeyError:
        return None
