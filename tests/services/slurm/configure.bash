# Write the configuration of the cluster. Sourced by start.
# shellcheck shell=bash

# Only cgroups (v1 here: Slurm 22.05 with v2 wants systemd) catch processes that leave their session, and
# memory limits. Elsewhere the process tree has to do.
has_cgroups() {
    local probe=udocker-test-probe.$$ controller
    for controller in freezer memory; do
        mkdir "/sys/fs/cgroup/$controller/$probe" 2>/dev/null || return 1
        rmdir "/sys/fs/cgroup/$controller/$probe"
    done
}

tracking() {
    if has_cgroups; then
        printf '%s\n' ProctrackType=proctrack/cgroup TaskPlugin=task/cgroup PrologFlags=Alloc,Contain
    else
        printf '%s\n' ProctrackType=proctrack/linuxproc TaskPlugin=task/none PrologFlags=Alloc
    fi
}

node_lines() {
    local node
    for node in "${NODES[@]}"; do
        echo "NodeName=$node NodeAddr=$(awk -v node="$node" '$2 == node { print $1 }' "$ETC/hosts")" \
            "CPUS=$CPUS RealMemory=$MEGABYTES State=UNKNOWN"
    done
}

# Short times (SlurmdTimeout, KillWait, the scheduler's intervals) keep tests of failures short.
# SlurmdParameters=config_overrides lets a node claim more processors than the machine has.
slurm_conf() {
    cat <<CONF
ClusterName=udockertest
SlurmctldHost=$(hostname -s)($(head_address))
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket=$RUN/munge/socket
SlurmctldPidFile=$RUN/slurm/slurmctld.pid
SlurmdPidFile=$RUN/slurmd.%n.pid
SlurmdSpoolDir=$STATE/spool/%n
StateSaveLocation=$STATE/slurmctld
SlurmctldLogFile=$LOG/slurmctld.log
SlurmdLogFile=$LOG/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
$(tracking)
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
# The munge socket again: what Slurm calls a password here is where the database's munge listens.
AccountingStoragePass=$RUN/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,max_array_tasks=10001
MaxArraySize=10001
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=5
MpiDefault=none
PlugStackConfig=$ETC/plugstack.conf
$(node_lines)
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 DefaultTime=10 PriorityTier=10 DefMemPerCPU=200
PartitionName=low Nodes=ALL MaxTime=1-0 DefaultTime=10 PriorityTier=1 DefMemPerCPU=200 GraceTime=2
PartitionName=high Nodes=ALL MaxTime=1-0 DefaultTime=10 PriorityTier=100 DefMemPerCPU=200 PreemptMode=OFF
CONF
}

slurmdbd_conf() {
    cat <<CONF
AuthType=auth/munge
AuthInfo=socket=$RUN/munge/socket
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=slurm
LogFile=$LOG/slurmdbd.log
PidFile=$RUN/slurm/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$DATABASE_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
CONF
}

configure() {
    install -d -o slurm "$RUN/slurm" "$STATE/slurmctld"
    install -o slurm -m 644 /dev/null "$LOG/slurmctld.log"
    install -o slurm -m 644 /dev/null "$LOG/slurmdbd.log"
    slurm_conf >"$ETC/slurm.conf"
    printf '%s\n' CgroupPlugin=cgroup/v1 ConstrainRAMSpace=yes >"$ETC/cgroup.conf"
    : >"$ETC/plugstack.conf"
    install -o slurm -m 600 /dev/null "$ETC/slurmdbd.conf" # slurmdbd refuses any other mode
    slurmdbd_conf >"$ETC/slurmdbd.conf"
}
