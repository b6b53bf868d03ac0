"""Job files: what they mean, and where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from udocker.errors import UdockerError
from udocker_batch import jobfile
from udocker_batch.errors import InvalidJob
from udocker_batch.jobfile import load_job, schema
from udocker_batch.jobspec import ArraySpec, JobSpec
from udocker_batch.sizes import parse_seconds, parse_size

FULL = """
name: pi
image: 127.0.0.1:5000/pi:1
command: [python3, /data/work.py, --fast]
array: 0-9:3%2
mounts: [/scratch:/data:ro, in]
env: {MODE: NO, OCTAL: 010, EMPTY: ''}
workdir: /data
user: nobody
entrypoint: []
directory: sub
stdout: out-%a.txt
cpus: 2
memory: 1.5G
time: 1-02:30
prepare: submit
stage: node
prefetch: [debian:12]
usage: no
options:
  slurm: [--partition=main]
  pbs: [-q, fast]
"""


def load(text: str, scheduler: str = "slurm") -> JobSpec:
    return load_job(text, "job.yaml", scheduler, "/home/me")


def test_every_key_of_a_job_file_reaches_the_job() -> None:
    job = load(FULL)
    assert job.command == ("python3", "/data/work.py", "--fast")
    assert job.array is not None
    assert (job.array.indices, job.array.limit, job.array.step) == ((0, 3, 6, 9), 2, 3)
    assert (job.memory, job.time_limit, job.cpus) == (1536 << 20, 95400, 2)
    assert (job.directory, job.entrypoint, job.usage) == ("/home/me/sub", (), False)
    assert job.options == ("--partition=main",)
    assert (job.prepare, job.stage, job.prefetch) == ("submit", "node", ("debian:12",))


def test_values_are_taken_as_they_are_written() -> None:
    assert load(FULL).env == (("MODE", "NO"), ("OCTAL", "010"), ("EMPTY", ""))


@pytest.mark.parametrize("value", ["", "null", "~"])
def test_a_variable_without_a_value_is_the_submitters(value: str) -> None:
    text = f"image: x\nenv: {{A: {value}, B: {value}, C: 'null', D: ''}}"
    job = load_job(text, "job.yaml", "slurm", "/home/me", (), {"A": "a b", "C": "c"})
    assert job.env == (("A", "a b"), ("C", "null"), ("D", ""))
    changed = load_job("image: x", "job.yaml", "slurm", "/", [f"env={{A: {value}}}"], {"A": "1"})
    assert changed.env == (("A", "1"),)


@pytest.mark.parametrize("name", ["", "A=B"])
def test_a_name_that_no_variable_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidJob, match=f"^job: env: '{name}': not a variable's name"):
        JobSpec(image="x", env=((name, "1"),))


@pytest.mark.parametrize("name", ["A B", "A\n", "\t"])
def test_a_job_file_has_no_blanks_in_names_of_variables(name: str) -> None:
    for text, changes in ((f"image: x\nenv: {{{json.dumps(name)}: 1}}", []), ("image: x", [f"env.{name}=1"])):
        with pytest.raises(InvalidJob, match="^job file: .*: not a variable's name"):
            load_job(text, "job.yaml", "slurm", "/", changes)


def test_options_of_other_batch_systems_are_left_out() -> None:
    assert load(FULL, "local").options == ()


def test_a_command_in_one_string_is_split_into_words_not_run_by_a_shell() -> None:
    assert load("image: x\ncommand: echo 'a b' $HOME; rm").command == ("echo", "a b", "$HOME;", "rm")


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("image: x\ncomand: [a]", ":2:1:", "did you mean command?"),
        ("image: x\n\ncpus: many", ":3:7:", "not a whole number"),
        ("image: x\ncpus: 0", ":2:7:", "above 0"),
        ("image: x\ncommand: {a: b}", ":2:10:", "a mapping where a list belongs"),
        ("image: [x]", ":1:8:", "image: a list where a single value belongs"),
        ("image: x\nmounts: /d", ":2:9:", "mounts: a single value where a list belongs"),
        ("image: x\nmounts: /d", ":2:9:", "mounts is binds of the host's paths: SOURCE[:TARGET][:ro]"),
        ("image: x\nenv: [A=1]", ":2:6:", "a list where a mapping"),
        ("image: x\nenv: {A=B: 1}", ":2:7:", "env: 'A=B': not a variable's name"),
        ("image: x\nenv: {A: 1, B C: 2}", ":2:13:", "env: 'B C': not a variable's name"),
        ("image: x\nenv: {'': 1}", ":2:7:", "env: '': not a variable's name"),
        ("image: x\nenv: {A: , A: 1}", ":2:12:", "env: 'A': given twice"),
        ("image: x\nimage: y", ":2:1:", "given twice"),
        ("image: x\narray: 3-1", ":2:8:", "is empty"),
        ("image: x\nworkdir: here", "", "job: workdir: 'here': not an absolute path"),
        ("image: x\nmemory: lots", ":2:9:", "not a size"),
        ("image: x\ntime: soon", ":2:7:", "not a time"),
        ("image: x\nusage: maybe", ":2:8:", "not true or false"),
        ("image: x\ncommand: 'a", ":2:12:", "unexpected end"),
        ('image: x\ncommand: "\'a"', ":2:10:", "No closing quotation"),
        ("image: x\n  bad: indent", ":2:6:", "mapping values are not allowed"),
        ("image: x\nstage: moon", ":2:8:", "one of shared, node"),
        ("image: x\nprepare: sometime", ":2:10:", "one of first, submit, job"),
        ("- image", "job.yaml:", "not a mapping"),
        ("", "job.yaml:", "not a mapping"),
        ("command: [a]", "", "image: missing"),
        ('image: x\ncommand: ["\\0"]', ":2:11:", "NUL"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, where: str, words: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        load(text)
    assert where in raised.value.message
    assert words in str(raised.value)
    assert "\n" not in raised.value.message


@given(st.text(max_size=200))
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    try:
        load(text)
    except InvalidJob:
        pass


@pytest.mark.parametrize(
    ("text", "indices", "limit"),
    [("5", (5,), 0), ("0-3", (0, 1, 2, 3), 0), ("1,3,5%2", (1, 3, 5), 2), ("0-9:5,2", (0, 2, 5), 0)],
)
def test_an_array_is_read_as_sbatch_reads_it(text: str, indices: tuple[int, ...], limit: int) -> None:
    array = ArraySpec.parse(text)
    assert (array.indices, array.limit, array.text) == (indices, limit, text)


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-2:0", "1,,2", "-1", "0-5%0", "0-5%x", "0-99999999", "١"])
def test_an_array_that_sbatch_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(InvalidJob, match="array: "):
        ArraySpec.parse(text)


def test_sizes_are_in_powers_of_1024() -> None:
    assert [parse_size(text) for text in ("17", "1k", "4G", "500MiB", "1.5t")] == [
        17,
        1024,
        4 << 30,
        500 << 20,
        3 << 39,
    ]


def test_times_are_read_as_sbatch_reads_them() -> None:
    texts = ("90", "90s", "2h", "1:30", "1:00:00", "1-0", "1-12:30")
    assert [parse_seconds(text) for text in texts] == [5400, 90, 7200, 90, 3600, 86400, 131400]


@pytest.mark.parametrize("key", ["name", "stdout", "directory", "workdir", "command"])
def test_text_that_no_program_can_receive_is_refused(key: str) -> None:
    with pytest.raises(InvalidJob, match=f"job: {key}: .*no program can receive it"):
        load(f'image: x\n{key}: "a\\ud800"')


def test_a_job_refuses_an_unknown_way_to_prepare() -> None:
    with pytest.raises(UdockerError, match="prepare"):
        JobSpec(image="x", prepare="never")
    with pytest.raises(UdockerError, match="stage"):
        JobSpec(image="x", stage="moon")


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        (["cpus=8"], "cpus", 8),
        (["command=[a, 'b c']"], "command", ("a", "b c")),
        (["command=a 'b c'"], "command", ("a", "b c")),
        (["env.MODE=x: [y"], "env", (("MODE", "x: [y"), ("OCTAL", "010"), ("EMPTY", ""))),
        (["env.NEW=", "env.NEW=2"], "env", (("MODE", "NO"), ("OCTAL", "010"), ("EMPTY", ""), ("NEW", "2"))),
        (["env={}"], "env", ()),
        (["options.slurm=[-p, x]"], "options", ("-p", "x")),
        (["options.pbs=[-p, x]"], "options", ("--partition=main",)),
        (["user="], "user", ""),
        (["directory=/else"], "directory", "/else"),
    ],
)
def test_a_change_replaces_what_the_file_says(changes: list[str], field: str, value: object) -> None:
    assert getattr(load_job(FULL, "job.yaml", "slurm", "/home/me", changes), field) == value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cpus", "no value"),
        ("cpus=x", "--set cpus:1:1: cpus: 'x': not a whole number"),
        ("cpu=1", "did you mean cpus?"),
        ("command=[a", "--set command:1:"),
        ("mounts.x=1", "'mounts.x': unknown key"),
    ],
)
def test_a_change_that_makes_no_sense_is_told(change: str, words: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        load_job(FULL, "job.yaml", "slurm", "/home/me", [change])
    assert words in f"{raised.value.message} {raised.value.hint}"


@given(st.text(max_size=60))
def test_no_change_makes_it_fail_in_another_way(text: str) -> None:
    try:
        load_job("image: x", "job.yaml", "slurm", "/", [text])
    except InvalidJob:
        pass


def test_the_published_schema_is_that_of_the_reader() -> None:
    published = json.loads((Path(__file__).parents[2] / "docs" / "job.schema.json").read_bytes())
    assert published == schema()
    assert set(published["properties"]) == set(jobfile._KEYS)


@pytest.mark.parametrize("text", [FULL, "container: x", "image: x\narray: 7\ncommand: a b\nentrypoint: []"])
def test_what_the_reader_takes_the_schema_takes(text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), schema())


@pytest.mark.parametrize("text", ["image: [x]", "command: a", "image: x\nprepare: no", "image: x\ncpu: 1"])
def test_what_the_reader_refuses_the_schema_refuses(text: str) -> None:
    with pytest.raises(InvalidJob):
        load(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema())
