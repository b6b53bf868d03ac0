# The nodes: each is a set of namespaces with a network address, a host name and a /tmp of its own. Sourced.
# shellcheck shell=bash

NETWORKS=(10.186.44 10.93.211 172.29.77 192.168.213) # the first that this machine does not route is taken

choose_network() {
    local candidate
    for candidate in "${NETWORKS[@]}"; do
        if ! ip -4 route show table all | grep -qF "$candidate."; then
            echo "$candidate" >"$STATE/network"
            return
        fi
    done
    die "every candidate network is in use here: ${NETWORKS[*]}"
}

create_bridge() {
    local node number=0
    choose_network
    ip link add "$BRIDGE" type bridge
    ip addr add "$(head_address)/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    {
        echo "127.0.0.1 localhost"
        echo "$(head_address) $(hostname)"
        for node in "${NODES[@]}"; do echo "$(network).$((++number)) $node"; done
    } >"$ETC/hosts"
    for node in "${NODES[@]}"; do connect_node "$node"; done
}

connect_node() {
    local node=$1 space address
    space=$(namespace "$node")
    address=$(awk -v node="$node" '$2 == node { print $1 }' "$ETC/hosts")
    ip netns add "$space"
    ip link add "udt-$node" type veth peer name eth0 netns "$space"
    ip link set "udt-$node" master "$BRIDGE" up
    ip -n "$space" addr add "$address/24" dev eth0
    ip -n "$space" link set eth0 up
    ip -n "$space" link set lo up
    ip -n "$space" route add default via "$(head_address)"
}

remove_network() {
    local node
    for node in "${NODES[@]}"; do
        ip link del "udt-$node" 2>/dev/null || true # absent after a start that failed early
        ip netns del "$(namespace "$node")" 2>/dev/null || true
    done
    ip link del "$BRIDGE" 2>/dev/null || true
}

# nsenter rather than `ip netns exec`: that one mounts a fresh /sys, in which the cgroups are missing.
# --kill-child makes the end of unshare the end of the node with all its processes, as when power fails.
start_node() {
    local node=$1
    launch "$node" nsenter --net="/run/netns/$(namespace "$node")" \
        unshare --fork --kill-child --pid --mount-proc --uts --ipc --mount "$HERE/node-init" "$node" "$STATE"
}

kill_node() {
    local pid
    pid=$(pid_of "$1") || die "$1 is not running"
    kill -KILL "$pid"
    wait_for 10 "end of $1" is_gone "$1"
}

children() { cat "/proc/$1/task/$1/children" 2>/dev/null || true; }

# unshare ignores SIGTERM while its child runs, so that the child, the node's process 1, is asked instead.
ask_nodes_to_end() {
    local node pid
    for node in "${NODES[@]}"; do
        if pid=$(pid_of "$node"); then
            # shellcheck disable=SC2046
            kill -TERM $(children "$pid") 2>/dev/null || true
        fi
    done
}

stop_nodes() {
    local node
    ask_nodes_to_end
    for node in "${NODES[@]}"; do
        for _ in {1..30}; do
            if is_gone "$node"; then break; fi
            sleep 0.1
        done
        if ! is_gone "$node"; then kill_node "$node"; fi
    done
}
