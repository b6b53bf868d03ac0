"""The services that other tests rely on do what is expected of them."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.services.base_images import PushedImage
from tests.services.cluster import Slurm
from tests.services.images import OCI_MANIFEST
from tests.services.registry import Registry, Request
from tests.services.users import User
from tests.services.waiting import wait_until


def _upload(registry: Registry, repository: str, content: bytes) -> str:
    """Push a blob by the two steps of the distribution specification; the path under which it is then."""
    start = urllib.request.Request(f"{registry.url}/v2/{repository}/blobs/uploads/", method="POST")
    with urllib.request.urlopen(start) as answer:
        location = answer.headers["Location"]
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    put = urllib.request.Request(f"{location}&digest={digest}", data=content, method="PUT")
    put.add_header("Content-Type", "application/octet-stream")
    urllib.request.urlopen(put).close()
    return f"/v2/{repository}/blobs/{digest}"


def _submit(user: User, share: Path, *options: str) -> str:
    result = user.run(["sbatch", "--parsable", "--output=/dev/null", *options], cwd=share, check=True)
    return result.stdout.strip()


def test_registry_keeps_what_is_pushed(registry: Registry) -> None:
    path = _upload(registry, "services/push", b"content")
    with urllib.request.urlopen(registry.url + path) as answer:
        assert answer.read() == b"content"


def test_registry_tells_what_it_was_asked(registry: Registry) -> None:
    path = _upload(registry, "services/count", b"counted")
    registry.clear()
    for _ in range(3):
        urllib.request.urlopen(registry.url + path).close()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(registry.url + "/v2/services/none/manifests/latest")
    *blobs, manifest = registry.requests()
    assert blobs == [Request("GET", path, 200, len(b"counted"))] * 3
    assert (manifest.path, manifest.status) == ("/v2/services/none/manifests/latest", 404)


def test_registry_holds_the_images(
    registry: Registry, busybox_image: PushedImage, debian_image: PushedImage
) -> None:
    kinds = []
    for image in (busybox_image, debian_image):
        repository, _, tag = image.reference.partition("/")[2].rpartition(":")
        question = urllib.request.Request(f"{registry.url}/v2/{repository}/manifests/{tag}")
        question.add_header("Accept", OCI_MANIFEST)
        with urllib.request.urlopen(question) as answer:
            assert answer.headers["Docker-Content-Digest"] == image.digest
            kinds.append([layer["mediaType"].rpartition(".")[2] for layer in json.load(answer)["layers"]])
    assert kinds == [["tar+gzip"], ["tar+gzip", "tar+zstd", "tar"]]


def test_user_starts_with_a_clean_environment(user1: User) -> None:
    lines = user1.run(["env"]).stdout.splitlines()
    assert {line.partition("=")[0] for line in lines} == {"PATH", "HOME", "USER", "LOGNAME", "LANG"}


def test_users_are_two_without_privileges(user1: User, user2: User) -> None:
    assert user1.uid != user2.uid
    assert [user.run(["id", "-u"]).stdout for user in (user1, user2)] == [f"{user1.uid}\n", f"{user2.uid}\n"]
    assert user2.run(["touch", user1.home / "file"]).returncode != 0


def test_users_share_a_directory(user1: User, user2: User, share: Path) -> None:
    file = share / "from-user1"
    user1.run(["cp", "/proc/self/comm", file], check=True)
    assert user2.run(["cat", file]).stdout == "cp\n"


def test_installed_commands_are_reached_by_the_user(user1: User, udocker_bin: Path) -> None:
    for command in ("udocker", "udocker-batch", "udocker-sbatch"):
        assert user1.run(["test", "-x", udocker_bin / command]).returncode == 0
    imported = user1.run([udocker_bin / "python", "-c", "import udocker_batch, udocker.api"])
    assert imported.returncode == 0, imported.stderr


def test_slurm_runs_an_array_over_its_nodes(slurm: Slurm, user1: User, share: Path) -> None:
    job = _submit(user1, share, "--array=1-4", "--cpus-per-task=4", "--wrap=sleep 2")
    assert slurm.wait_for_end(job) == {f"{job}_{task}": "COMPLETED" for task in range(1, 5)}
    records = slurm.records(job, "NodeList", "User", "MaxRSS", "Account")
    tasks = [record for record in records if "." not in record["JobID"]]
    assert {task["NodeList"] for task in tasks} == set(slurm.nodes)
    assert {(task["User"], task["Account"]) for task in tasks} == {(user1.name, "test")}
    assert all(record["MaxRSS"] for record in records if record["JobID"].endswith(".batch"))


def test_the_nodes_tell_when_a_script_ran(slurm: Slurm, user1: User, share: Path) -> None:
    job = _submit(user1, share, "--output=moments", "--wrap=date +%s.%N; date +%s.%N")
    assert slurm.wait_for_end(job) == {job: "COMPLETED"}
    begin, end = (float(line) for line in (share / "moments").read_text().split())
    launched, ended = wait_until(lambda: slurm.script_spans().get(job), f"{job} in the log")
    assert launched - 0.001 <= begin <= end <= ended + 0.001  # the log has milliseconds


def test_nodes_have_names_and_tmp_of_their_own(slurm: Slurm, user1: User, share: Path) -> None:
    report = share / "report"
    # What udocker remembers of a node stays there.
    empty = 'test -z "$(ls -A /tmp | grep -v ^udocker-)"'
    command = f"{empty} && touch /tmp/mine && hostname > {report}-$SLURM_ARRAY_TASK_ID"
    job = _submit(user1, share, "--array=1-4", "--cpus-per-task=4", f"--wrap={command}; sleep 2")
    slurm.wait_for_end(job)
    assert {path.read_text().strip() for path in share.glob("report-*")} == set(slurm.nodes)
    for node in slurm.nodes:
        file = slurm.node_directory(node) / "mine"
        assert file.owner() == user1.name
        os.unlink(file)


def test_nodes_reach_the_cluster_registry(
    slurm: Slurm, cluster_registry: Registry, user1: User, share: Path
) -> None:
    cluster_registry.clear()
    fetch = f"import urllib.request; urllib.request.urlopen('{cluster_registry.url}/v2/')"
    job = _submit(user1, share, f'--wrap=/usr/bin/python3 -c "{fetch}"')
    assert slurm.wait_for_end(job) == {job: "COMPLETED"}
    assert [request.path for request in cluster_registry.requests()] == ["/v2/"]


def test_crash_of_a_node_fails_or_requeues_its_jobs(slurm: Slurm, user1: User, share: Path) -> None:
    kept = _submit(user1, share, "--nodelist=node4", "--requeue", "--wrap=sleep 600")
    lost = _submit(user1, share, "--nodelist=node4", "--no-requeue", "--wrap=sleep 600")
    for job in (kept, lost):
        slurm.wait_for_state(job, "RUNNING")
    slurm.kill_node("node4")
    try:
        slurm.wait_for_node("node4", "DOWN")
        assert slurm.wait_for_end(lost) == {lost: "NODE_FAIL"}
        slurm.wait_for_state(kept, "PENDING")
        assert "NODE_FAIL" in {record["State"] for record in slurm.records(kept, duplicates=True)}
    finally:
        user1.run(["scancel", kept], check=True)
        slurm.revive_node("node4")
