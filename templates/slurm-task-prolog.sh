#!/bin/sh
# TaskProlog of Slurm, as the user before each task: tells tasks where their node keeps copies of containers.
# What it prints as "export NAME=VALUE" is set for the task (slurm.conf(5)); any status but 0 would fail the job.
trap 'exit 0' EXIT
PATH=/usr/sbin:/usr/bin:/sbin:/bin
node_dir={{ node_dir | q }}
if [ -z "${UDOCKER_NODE_DIR-}" ] && [ -O "$node_dir/udocker-stage-$(id -u)" ]; then
    printf 'export UDOCKER_NODE_DIR=%s\n' "$node_dir"
fi
exit 0
