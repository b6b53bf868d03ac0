#!/bin/sh
# Prolog of Slurm, as root on each node before a job: makes ready the copies of containers that the job asks for.
# Whatever happens, the exit status is 0 and the time bounded: any other status drains the node (slurm.conf(5)).
trap 'exit 0' EXIT
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022
log={{ log | q }}
node_dir={{ node_dir | q }}
[ -n "${SLURM_JOB_ID-}" ] && [ -n "${SLURM_JOB_UID-}" ] || exit 0
(: >>"$log") 2>/dev/null || log=/dev/null
exec >>"$log" 2>&1 </dev/null
UDOCKER_NODE_DIR=$node_dir
export UDOCKER_NODE_DIR

# Whether nobody else can put something in place of what is made there, to be given it: root's own directory,
# which only root writes to, or where only who made a name can rename it.
is_safe() {
    [ -n "$(find "$node_dir" -maxdepth 0 -type d -user "$(id -u)" '(' ! -perm /022 -o -perm -1000 ')')" ]
}

prepare() {
    mkdir -p -- "$node_dir" && own=$node_dir/udocker-stage-$SLURM_JOB_UID || return
    if [ ! -e "$own" ] && is_safe; then mkdir -m 700 -- "$own" && chown -h -- "$SLURM_JOB_UID" "$own"; fi
    exec timeout --kill-after=5 {{ limit | q }} {{ program | q }} hooks run slurm prolog
}

late=
trap 'late=yes' ALRM
# In the background, so that not even a process that cannot be killed holds the job: of a file system that hangs.
prepare &
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
echo "$(date '+%F %T') prolog: job $SLURM_JOB_ID: status $status"
exit 0
