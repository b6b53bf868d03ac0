# Settings and process handling that the scripts of this directory share. Sourced, never run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
umask 022

STATE=${UDOCKER_TEST_SLURM_STATE:-/var/tmp/udocker-test-0/slurm} # root's own directory, visible on every node
ETC=$STATE/etc
RUN=$STATE/run
LOG=$STATE/log
NODES=(node1 node2 node3 node4)
CPUS=4 # told to Slurm, whatever the machine has
MEGABYTES=4000
USERS=(root udocker-test1 udocker-test2)
BRIDGE=udt-br0
SYSTEM_CONF=/etc/slurm/slurm.conf # where Debian's commands look: no user needs SLURM_CONF
export SLURM_CONF=$ETC/slurm.conf

die() { echo "${0##*/}: $*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "needs root"; }

# One of start, stop and node at a time. Descriptor 9 holds the lock; daemons must not inherit it.
lock() {
    mkdir -p "$(dirname "$STATE")"
    # /var/tmp is writable for all: a directory that somebody else prepared there is not to be trusted.
    [ -O "$(dirname "$STATE")" ] || die "$(dirname "$STATE") is not root's"
    exec 9>>"$STATE.lock"
    flock -w 120 9 || die "another start or stop is under way"
}

wait_for() { # wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds
    local limit=$1 what=$2 end=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || die "$what: not ready after $limit s, see $LOG"
        sleep 0.1
    done
}

# Field 22 of /proc/PID/stat, counted after the command's name, which may hold blanks (proc(5)).
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# A daemon is remembered as "PID START": a PID alone may be another process's by now.
remember() { echo "$2 $(start_time "$2")" >"$RUN/$1.pid"; }

pid_of() { # the PID of daemon $1; fails when it does not run
    local pid start
    read -r pid start 2>/dev/null <"$RUN/$1.pid" || return 1
    [ -n "$start" ] && [ "$(start_time "$pid")" = "$start" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null && echo "$pid"
}

launch() { # launch NAME COMMAND...: in the background, in a session and with an environment of its own
    local name=$1
    shift
    setsid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 SLURM_CONF="$SLURM_CONF" "$@" \
        >>"$LOG/$name.out" 2>&1 </dev/null 9>&- &
    remember "$name" $!
}

launch_controller() {
    launch slurmctld setpriv --reuid slurm --regid slurm --init-groups /usr/sbin/slurmctld -D -f "$SLURM_CONF"
}

as() { # as USER COMMAND...
    local user=$1
    shift
    setpriv --reuid "$user" --regid "$user" --init-groups "$@"
}

is_gone() { ! pid_of "$1" >/dev/null; }

finish() { # finish NAME SECONDS: ask daemon NAME to end, then make it
    local pid end=$((SECONDS + $2))
    pid=$(pid_of "$1") || return 0
    kill -TERM "$pid" 2>/dev/null || true
    until is_gone "$1"; do
        if [ "$SECONDS" -ge "$end" ]; then kill -KILL "$pid" 2>/dev/null || true; fi
        sleep 0.1
    done
}

network() { cat "$STATE/network"; } # the first three numbers of the cluster's /24
head_address() { echo "$(network).254"; }
namespace() { echo "udocker-test-$1"; }
