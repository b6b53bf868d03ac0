#!/bin/sh
# Epilog of Slurm, as root on each node after a job: removes the user's copies of containers that nobody uses.
# Whatever happens, the exit status is 0 and the time bounded: any other status drains the node (slurm.conf(5)).
trap 'exit 0' EXIT
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
log={{ log | q }}
node_dir={{ node_dir | q }}
[ -n "${SLURM_JOB_ID-}" ] && [ -n "${SLURM_JOB_UID-}" ] || exit 0
(: >>"$log") 2>/dev/null || log=/dev/null
exec >>"$log" 2>&1 </dev/null
UDOCKER_NODE_DIR=$node_dir
export UDOCKER_NODE_DIR

clean() {
    exec timeout --kill-after=5 {{ limit | q }} {{ program | q }} stage clean --user "$SLURM_JOB_UID" --unused {{ keep | q }}
}

late=
trap 'late=yes' ALRM
# In the background, so that not even a process that cannot be killed holds the job: of a file system that hangs.
clean &
work=$!
(
    trap 'kill "$pause" 2>/dev/null' TERM
    sleep $(({{ limit | q }} + 8)) &
    pause=$!
    wait "$pause" && kill -ALRM $$
) &
watch=$!
wait "$work"
status=$?
if [ -n "$late" ]; then status="none, still running"; else kill "$watch" 2>/dev/null; fi
echo "$(date '+%F %T') epilog: job $SLURM_JOB_ID: status $status"
exit 0
