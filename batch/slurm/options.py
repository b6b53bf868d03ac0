"""The options of sbatch and srun: which there are, whether they take values, and how a command line is read.

Both read theirs by getopt_long(3): long names may be cut short where they stay unique, letters without values
may share a word, and the first word that is none ends the options.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Optional


class Takes(Enum):
    """What an option takes: ``JOINED`` ones have a value only in the same word."""

    NOTHING = "no value"
    JOINED = "perhaps a value"
    VALUE = "a value"


@dataclass(frozen=True)
class Given:
    """One option of a command line: its name in full, its value, and the words that it is made of.

    The colon between the parts of a heterogeneous job (sbatch(1)) is ``:`` without a value.
    """

    name: str
    value: Optional[str]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A command line that has been read.

    ``rest`` is what follows the options, after ``--`` if ``separated``.
    """

    given: tuple[Given, ...]
    rest: tuple[str, ...] = ()
    separated: bool = False

    def last(self, *names: str) -> Optional[str]:
        """The value that counts of an option, "" for one without; None where it is not given."""
        values = [one.value or "" for one in self.given if one.name in names]
        return values[-1] if values else None

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of an option that may be given again."""
        return tuple(one.value or "" for one in self.given if one.name == name)

    def words(self, without: Collection[str] = ()) -> tuple[str, ...]:
        """The options as they were given, but for those named."""
        return tuple(word for one in self.given if one.name not in without for word in one.words)


@dataclass(frozen=True)
class Syntax:
    """The options of a command: every long name with what it takes, and the letters' long names.

    ``exact`` names are never meant by a part of them: they are not the command's own.
    """

    names: Mapping[str, Takes]
    letters: Mapping[str, str]
    exact: frozenset[str] = field(default_factory=frozenset)

    def adding(self, names: Mapping[str, Takes], *, exact: bool = False) -> Syntax:
        """The same with more options, or with these in place of others."""
        ours = self.exact | frozenset(names) if exact else self.exact
        return Syntax({**self.names, **names}, self.letters, ours)

    def full(self, name: str) -> str:
        """The one name that ``name`` may be the beginning of, else ``name`` itself."""
        if name in self.names:
            return name
        meant = [one for one in self.names if one.startswith(name) and one not in self.exact]
        return meant[0] if len(meant) == 1 else name

    def read(self, words: Sequence[str]) -> Line:
        """Read a command line."""
        given: list[Given] = []
        left = list(words)
        while left:
            word = left[0]
            if word == ":":
                given.append(Given(":", None, (left.pop(0),)))
            elif word == "--":
                return Line(tuple(given), tuple(left[1:]), True)
            elif word.startswith("--"):
                given.append(self._long(left))
            elif word.startswith("-") and word != "-":
                given.extend(self._letters(left))
            else:
                break
        return Line(tuple(given), tuple(left))

    def _long(self, left: list[str]) -> Given:
        word = left.pop(0)
        name, equals, value = word[2:].partition("=")
        name = self.full(name)
        if equals:
            return Given(name, value, (word,))
        takes = self.names.get(name)
        # A plug-in's option that nobody has told of: most take a value.
        unknown = takes is None and left and not left[0].startswith("-")
        if (takes is Takes.VALUE or unknown) and left:
            value = left.pop(0)
            return Given(name, value, (word, value))
        return Given(name, None, (word,))

    def _letters(self, left: list[str]) -> list[Given]:
        word = left.pop(0)
        given: list[Given] = []
        for position, letter in enumerate(word[1:], 1):
            name = self.letters.get(letter, letter)
            takes = self.names.get(name, Takes.VALUE)
            joined = word[position + 1 :]
            if takes is Takes.NOTHING or (takes is Takes.JOINED and not joined):
                given.append(Given(name, None, (f"-{letter}",)))
            elif joined or not left:
                return [*given, Given(name, joined, (f"-{letter}{joined}",))]
            else:
                value = left.pop(0)
                return [*given, Given(name, value, (f"-{letter}", value))]
        return given


def read_help(text: str) -> Mapping[str, Takes]:
    """The long options that a command's ``--help`` tells of, for those that plug-ins add."""
    found = {}
    for match in re.finditer(r"^\s+(?:-\w,? +)?--([a-z][\w-]*)(\[?=)?", text, re.MULTILINE):
        takes = {"=": Takes.VALUE, "[=": Takes.JOINED}.get(match[2] or "", Takes.NOTHING)
        found[match[1]] = takes
    return found


def _table(nothing: str, joined: str, value: str) -> Mapping[str, Takes]:
    kinds = ((Takes.NOTHING, nothing), (Takes.JOINED, joined), (Takes.VALUE, value))
    return {name: takes for takes, names in kinds for name in names.split()}


_COMMON = """account acctg-freq bb bbf begin chdir cluster-constraint clusters comment constraint container
    core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution
    error exclude export extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket
    gpus-per-task gres gres-flags hint input job-name licenses mail-type mail-user mcs-label mem mem-bind
    mem-per-cpu
    mem-per-gpu mincpus network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
    ntasks-per-socket open-mode output partition power prefer priority profile qos reservation signal
    sockets-per-node switches thread-spec threads-per-core time time-min tmp uid wckey"""
_COMMON_FLAGS = """contiguous help hold overcommit oversubscribe quiet reboot spread-job test-only usage
    use-min-nodes verbose version"""
_COMMON_LETTERS = {
    "A": "account",
    "B": "extra-node-info",
    "C": "constraint",
    "D": "chdir",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "N": "nodes",
    "O": "overcommit",
    "Q": "quiet",
    "S": "core-spec",
    "V": "version",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "h": "help",
    "i": "input",
    "k": "no-kill",
    "m": "distribution",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "w": "nodelist",
    "x": "exclude",
}

# As Slurm 22.05 has them (sbatch(1), srun(1)); a test asks the installed ones.
SBATCH = Syntax(
    _table(
        f"{_COMMON_FLAGS} ignore-pbs no-requeue parsable requeue wait",
        "exclusive get-user-env nice no-kill propagate",
        f"{_COMMON} array batch export-file kill-on-invalid-dep wait-all-nodes wrap",
    ),
    {**_COMMON_LETTERS, "W": "wait", "a": "array"},
)
SRUN = Syntax(
    _table(
        f"""{_COMMON_FLAGS} disable-status exact label multi-prog no-allocate preserve-env pty
        quit-on-interrupt unbuffered whole""",
        """bcast compress exclusive immediate kill-on-bad-exit nice no-kill overlap propagate resv-ports
        send-libs x11""",
        f"""{_COMMON} accel-bind bcast-exclude cpu-bind epilog het-group jobid mpi msg-timeout prolog relative
        slurmd-debug task-epilog task-prolog threads wait""",
    ),
    {
        **_COMMON_LETTERS,
        "E": "preserve-env",
        "I": "immediate",
        "K": "kill-on-bad-exit",
        "T": "threads",
        "W": "wait",
        "X": "disable-status",
        "Z": "no-allocate",
        "l": "label",
        "r": "relative",
        "u": "unbuffered",
    },
)
# The directives of PBS that sbatch understands.
PBS = Syntax(
    {"hold": Takes.NOTHING, "export-all": Takes.NOTHING},
    {
        "J": "array",
        "N": "job-name",
        "V": "export-all",
        "e": "error",
        "h": "hold",
        "o": "output",
        "t": "array",
    },
)
