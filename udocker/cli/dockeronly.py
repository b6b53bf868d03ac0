"""Commands of docker, and options of its run, create and exec, that mean nothing here: what to do instead.

See docker(1), docker-run(1) and docker-exec(1).
"""

from __future__ import annotations

from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# What to do instead, and the options that it is said of.
_REASONS: Mapping[str, str] = {
    "containers share the host's network: leave it out; --publish maps ports in modes T and P": """
        --network --net --network-alias --link --ip --ip6 --mac-address --expose""",
    "limits are the batch system's, as sbatch --mem, or the shell's (ulimit): leave it out": """
        -m --memory --memory-swap --memory-reservation --cpus -c --cpu-shares --cpu-quota --cpu-period
        --cpuset-mems --pids-limit --ulimit --blkio-weight --oom-kill-disable""",
    "nobody is root here, and there are no rights to give or take: leave it out": """
        --privileged --cap-add --cap-drop --security-opt --userns --group-add""",
    "containers share this with the host: leave it out": """
        --ipc --pid --uts --cgroupns --cgroup-parent --sysctl --device-cgroup-rule""",
    "containers have the host's name: leave it out": "-h --hostname --domainname",
    "there is no daemon to do this: leave it out": """
        --restart --log-driver --log-opt --health-cmd --no-healthcheck --stop-signal --stop-timeout""",
    "write it as --volume SOURCE:TARGET[:ro]": "--mount",
    "write it as --volume DIRECTORY:TARGET, with a directory of your own": "--tmpfs",
    "udocker setup --nvidia CONTAINER shows the host's driver, for all of its runs": "--gpus --runtime",
    "write lines into a file that is bound over it: --volume FILE:/etc/hosts": "--add-host",
    "write-protect what matters: --volume SOURCE:TARGET:ro, or chmod": "--read-only",
    "signals reach the program in any case, and nothing is detached by keys: leave it out": """
        --sig-proxy --detach-keys""",
    "leave it out: what a program leaves behind is waited for by the host": "--init",
    "run -d prints the id, and udocker ps shows it": "--cidfile",
    "labels are not kept: give a --name": "-l --label --label-file",
}

# Likewise of commands.
_COMMANDS: Mapping[str, str] = {
    "udocker run CONTAINER runs it again, with -d in the background": "start restart",
    "udocker logs -f CONTAINER shows what it prints, and udocker exec runs more in it": "attach",
    "a container is a directory of the host, which udocker inspect -p CONTAINER tells: use cp": "cp",
    "its directory can be compared with another one's: udocker inspect -p CONTAINER": "diff",
    "udocker kill -s STOP CONTAINER, and -s CONT": "pause unpause",
    "udocker top CONTAINER, and what the host has, as top(1)": "stats",
    "images are built elsewhere; udocker pull, load and import bring them here": "build buildx compose push",
    "udocker export CONTAINER | udocker import - IMAGE": "commit",
    "udocker inspect IMAGE": "history",
    "udocker version, udocker doctor and udocker showconf": "info",
    "the network is the host's, and directories are bound with --volume": "network volume",
    "udocker's commands have one word, as udocker ps and udocker pull": "container image system",
}


def instead_of_command(name: str) -> str:
    """What to do instead of a command of docker's; empty where there is nothing to say."""
    return next((reason for reason, names in _COMMANDS.items() if name in names.split()), "")


def instead_of(option: str) -> str:
    """What to do instead of an option of docker's; empty where there is nothing to say."""
    return next((reason for reason, options in _REASONS.items() if option in options.split()), "")
