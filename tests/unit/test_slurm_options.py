"""Command lines and scripts of sbatch and srun, read as they read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker.config import Config
from udocker_batch.errors import BatchError, InvalidJob
from udocker_batch.jobspec import JobSpec
from udocker_batch.slurm.command import _OURS, job_of, main
from udocker_batch.slurm.directives import directives, read_directives, without_option
from udocker_batch.slurm.frontend import read_line
from udocker_batch.slurm.options import SBATCH, Takes, read_help
from udocker_batch.taskspec import TaskSpec

SCRIPT = """#!/bin/bash
#SBATCH -J "a b" --arr=0-3  # a comment
#SBATCH --wait
# plain words
#PBS -N other -J 0-9
#PBS -V

#SBATCH --chdir=sub -QHp low
echo go
#SBATCH --time=1
"""


def job(words: list[str], environ: dict[str, str] | None = None) -> tuple[JobSpec, frozenset[str]]:
    return job_of(read_line("sbatch", SBATCH, ["--image=x", *words], _OURS), environ or {})


def script(directory: Path, text: str = SCRIPT) -> str:
    path = directory / "run me.sh"
    path.write_text(text, errors="surrogateescape")
    return str(path)


def test_a_word_that_no_option_takes_ends_the_options() -> None:
    line = SBATCH.read(["-n", "2", "--nice", "x.sh", "--array=1", "-n3"])
    assert line.rest == ("x.sh", "--array=1", "-n3")
    assert not line.separated
    assert [one.name for one in line.given] == ["ntasks", "nice"]


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--arr=1"], [("array", "1")]),
        (["--wai"], [("wai", None)]),  # wait or wait-all-nodes: sbatch says that it is ambiguous
        (["--wait"], [("wait", None)]),
        (["--ntasks-per-n", "3"], [("ntasks-per-node", "3")]),
        (["-k", "-koff"], [("no-kill", None), ("no-kill", "off")]),
        (["-HkH"], [("hold", None), ("no-kill", "H")]),
        (["--exclusive", "-n1"], [("exclusive", None), ("ntasks", "1")]),
        (["--exclusive=user"], [("exclusive", "user")]),
        (["-J", "--", "-n1"], [("job-name", "--"), ("ntasks", "1")]),
        (["-n1", ":", "-n2"], [("ntasks", "1"), (":", None), ("ntasks", "2")]),
        (["--plugin", "v", "-n1"], [("plugin", "v"), ("ntasks", "1")]),
        (["--plugin", "-n1"], [("plugin", None), ("ntasks", "1")]),
        (["-J"], [("job-name", "")]),
        (["--job-name"], [("job-name", None)]),
    ],
)
def test_options_are_read_as_getopt_does(words: list[str], given: list[tuple[str, str | None]]) -> None:
    assert [(one.name, one.value) for one in SBATCH.read(words).given] == given


@given(st.lists(st.sampled_from(["-n", "1", "--arr", "0-3", "-HWk", "--", ":", "-", "--x", "-J", "é", ""])))
def test_no_word_is_lost(words: list[str]) -> None:
    line = SBATCH.read(words)
    kept = [*line.words(), *(["--"] if line.separated else []), *line.rest]
    assert "".join(kept).replace("-", "") == "".join(words).replace("-", "")


def test_options_of_plug_ins_are_told_by_the_help_of_the_command() -> None:
    text = "  -J, --job-name=name  x\n\nOptions provided by plugins:\n      --x11v=[a]  y\n      --flag   z\n"
    assert read_help(text) == {"job-name": Takes.VALUE, "x11v": Takes.VALUE, "flag": Takes.NOTHING}


def test_our_options_are_never_meant_by_a_part_of_them() -> None:
    line = read_line("sbatch", SBATCH, ["--image=x", "--imm", "--usag", "--container", "c"], _OURS)
    assert (line.last("image"), line.last("container")) == ("x", "c")
    assert line.last("usage") == ""


@pytest.mark.parametrize(("word", "cause"), [("--nvidia=1", "takes no value"), ("--image", "needs a value")])
def test_our_options_tell_when_they_lack_a_value(
    word: str, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 125
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "near"), [("--imgae=x", "image"), ("--exec-mod=R1", "exec-mode"), ("--imag=x", "image")]
)
def test_an_option_of_ours_that_is_mistyped_is_told_before_what_is_missing(
    word: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, "--", "true"]) == 125
    name = word.partition("=")[0]
    assert capsys.readouterr().err == (
        f"udocker-sbatch: sbatch: {name}: unknown option\n  hint: did you mean --{near}?\n"
    )


@pytest.mark.parametrize("word", ["--wai", "--us", "--tomorrows-option=1"])
def test_what_may_be_an_option_of_another_slurm_is_handed_on(word: str) -> None:
    assert word in job([word, "--", "true"])[0].options


def test_options_of_a_script_are_read_and_its_lines_handed_on(tmp_path: Path) -> None:
    spec, asked = job([script(tmp_path), "a", "--array=9"])
    assert spec.array is not None
    assert spec.array.indices == tuple(range(10))  # what #PBS says is stronger
    assert spec.name == ""  # the script names itself
    assert spec.directory.endswith("/sub")
    assert spec.command == ("a", "--array=9")
    assert asked == {"wait", "quiet"}
    # What would keep the job's id from us is taken out; sbatch reads all the rest itself.
    assert spec.directives == (
        '#SBATCH -J "a b" --arr=0-3  # a comment',
        "#PBS -N other -J 0-9",
        "#PBS -V",
        "#SBATCH --chdir=sub -H -p low",
    )


def test_the_command_line_is_stronger_than_the_environment_and_that_than_the_script(tmp_path: Path) -> None:
    name = script(tmp_path)
    environ = {"SBATCH_ARRAY_INX": "5"}
    assert job([name], environ)[0].array == job(["-a5", name])[0].array
    assert job(["--array=7", name], environ)[0].array == job(["-a7", name])[0].array


def test_pbs_lines_count_unless_they_are_to_be_ignored(
    tmp_path: Path,
) -> None:
    text = "#!/bin/sh\n#PBS -t 1,2\n#PBS -l nodes=1:ppn=2,walltime=5 -N x\n"
    name = script(tmp_path, text)
    spec = job([name])[0]
    assert spec.array is not None
    assert (spec.array.indices, spec.name) == ((1, 2), "")
    for words, environ in ((["--ignore-pbs"], {}), ([], {"SBATCH_IGNORE_PBS": "1"})):
        spec = job([*words, name], environ)[0]
        assert (spec.array, spec.name) == (None, "run me.sh")


def test_lines_after_the_first_command_are_none_of_sbatchs() -> None:
    assert "#SBATCH --time=1" not in directives(SCRIPT)
    assert read_directives(["#SBATCH -J a", "#SBATCH hetjob", "#SBATCH -J b"]).last("job-name") == "a"
    assert read_directives(['#SBATCH -J "a']).given == ()
    assert without_option(["#SBATCH -W", "#SBATCH -WJ 'a b'", "#PBS -W x"], "wait") == (
        "#SBATCH -J 'a b'",
        "#PBS -W x",
    )


def test_a_script_becomes_a_bind_and_its_interpreter_the_command(tmp_path: Path) -> None:
    text = "#!/usr/bin/env -S sh -e\necho '$(x)' \udcff\n"
    spec = job([script(tmp_path, text), "a b"])[0]
    task = TaskSpec.of(spec, Config.from_environment({"UDOCKER_DIR": "/store"}))
    assert task.command == ("/usr/bin/env", "-S sh -e", "/.udocker-script", "a b")
    assert task.entrypoint == ()
    (mount,) = task.mounts
    assert mount.startswith("/store/batch/scripts/")
    assert mount.endswith(":/.udocker-script:ro")


def test_wrapped_text_is_for_the_shell_in_the_container() -> None:
    spec = job(["--wrap=echo $HOME; x"])[0]
    assert (spec.command, spec.name, spec.options) == (("/bin/sh", "-c", "echo $HOME; x"), "wrap", ())
    with pytest.raises(InvalidJob, match="--wrap"):
        job(["--wrap=x", "y"])


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "not a script"),
        (b"echo\n", "not a script"),
        (b"#!/bin/sh\r\n", "DOS"),
        (b"#!\n", "no interpreter"),
    ],
)
def test_what_is_no_script_is_told_as_sbatch_does(tmp_path: Path, data: bytes, cause: str) -> None:
    (tmp_path / "s").write_bytes(data)
    with pytest.raises(BatchError, match=cause):
        TaskSpec.of(job([str(tmp_path / "s")])[0], Config.from_environment({}))
    with pytest.raises(InvalidJob, match="No such file"):
        job([str(tmp_path / "nothing")])


@pytest.mark.parametrize("words", [[], ["--image=x", "--container=y"]])
def test_an_image_or_a_container_is_needed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--", "true"]) == 125
    assert "--image, --container" in capsys.readouterr().err
