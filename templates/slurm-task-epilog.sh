#!/bin/sh
# TaskEpilog of Slurm, as the user after each task: removes copies of containers that nobody has used for long.
# It waits for nothing: what is left is removed by the Epilog, or by a later job of the user.
trap 'exit 0' EXIT
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
[ -z "${SLURM_STEP_ID-}" ] || exit 0
export UDOCKER_NODE_DIR={{ node_dir | q }}
timeout --kill-after=5 {{ limit | q }} {{ program | q }} stage clean --unused {{ keep | q }} >/dev/null 2>&1 </dev/null
exit 0
