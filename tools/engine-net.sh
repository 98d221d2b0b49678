#!/usr/bin/env bash
# The network of one private engine: a bridge whose containers reach the outside, and neither this machine nor the
# containers of any other engine nor each other. Image builds need it (pip, apt); runs have no network.
#
#   tools/engine-net.sh up BRIDGE     make the bridge and its rules; prints its subnet. Exit 3: no rules can be made
#                                     here, the bridge is there and leads nowhere
#   tools/engine-net.sh down BRIDGE   remove both; no error when they are not there
#
# The engines' own netfilter handling is not used: dockerd's chains outlive it, and two daemons fight over them.
# Ours are named after the bridge. core/src/embedded_bridge.c and embedded_netfilter.c do the same for the product.
set -euo pipefail

# Bridges of other engines and of virtual machines, ours first.
others=(ms-+ docker+ br-+ cni+ podman+ virbr+ lxc+)
# Instance metadata (credentials!) is served at link-local addresses; some clouds have their DNS there, too.
metadata=169.254.0.0/16

# 198.18.0.0/15 is for measuring network devices (RFC 2544): nothing on the Internet has such an address, and no engine
# takes one by itself. The first /24 that no route of this machine touches.
free_subnet() { # BRIDGE
    local first try n net
    first=$(($(printf '%s' "$1" | cksum | cut -d' ' -f1) % 512))
    for try in $(seq 0 511); do
        n=$(((first + try) % 512))
        net=198.$((18 + n / 256)).$((n % 256))
        if [ -z "$(ip -4 route show table all match "$net.0/24" | grep -v '^default')" ] &&
            [ -z "$(ip -4 route show table all root "$net.0/24")" ]; then
            printf '%s' "$net"
            return 0
        fi
    done
    return 1
}

subnet_of() { # BRIDGE
    { ip -4 -o addr show dev "$1" 2>/dev/null || true; } | awk '{ sub(/\.[0-9]+\/24$/, "", $4); print $4; exit }'
}

unhook() { # BRIDGE
    local bridge=$1
    while iptables -w -D FORWARD -i "$bridge" -j "$bridge-forward" 2>/dev/null; do :; done
    while iptables -w -D FORWARD -o "$bridge" -j "$bridge-forward" 2>/dev/null; do :; done
    while iptables -w -D INPUT -i "$bridge" -j "$bridge-input" 2>/dev/null; do :; done
    while iptables -w -t nat -D POSTROUTING ! -o "$bridge" -j "$bridge-nat" 2>/dev/null; do :; done
    while ebtables -D FORWARD --logical-in "$bridge" -j DROP 2>/dev/null; do :; done
    while ip6tables -w -D FORWARD -o "$bridge" -j DROP 2>/dev/null; do :; done
    local chain
    for chain in forward input; do
        iptables -w -F "$bridge-$chain" 2>/dev/null && iptables -w -X "$bridge-$chain"
    done || true
    { iptables -w -t nat -F "$bridge-nat" 2>/dev/null && iptables -w -t nat -X "$bridge-nat"; } || true
}

rules() { # BRIDGE SUBNET
    local bridge=$1 other
    printf '%s\n' '*filter' ":$bridge-forward - [0:0]" ":$bridge-input - [0:0]" \
        "-A $bridge-forward -o $bridge -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT" \
        "-A $bridge-forward -o $bridge -j DROP" \
        "-A $bridge-forward -d $metadata -p udp --dport 53 -j ACCEPT" \
        "-A $bridge-forward -d $metadata -p tcp --dport 53 -j ACCEPT" \
        "-A $bridge-forward -d $metadata -j DROP"
    for other in "${others[@]}"; do printf '%s\n' "-A $bridge-forward -o $other -j DROP"; done
    printf '%s\n' "-A $bridge-forward -j ACCEPT" \
        "-A $bridge-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT" \
        "-A $bridge-input -j DROP" \
        "-I FORWARD 1 -i $bridge -j $bridge-forward" \
        "-I FORWARD 1 -o $bridge -j $bridge-forward" \
        "-I INPUT 1 -i $bridge -j $bridge-input" \
        COMMIT \
        '*nat' ":$bridge-nat - [0:0]" \
        "-A $bridge-nat -s $2.0/24 -j MASQUERADE" \
        "-I POSTROUTING 1 ! -o $bridge -j $bridge-nat" \
        COMMIT
}

# Where nothing was forwarded before, turning it on must not make a router of this machine: as Docker does.
forwarding() {
    if [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 0 ]; then
        iptables -w -P FORWARD DROP
        echo 1 >/proc/sys/net/ipv4/ip_forward
    fi
}

# Frames from one container of a bridge to another pass the rules only if the bridge asks for it, which needs
# br_netfilter; loading that would change all bridges of the machine. Without it ebtables can, on most kernels.
between() { # BRIDGE
    local call=/sys/class/net/$1/bridge/nf_call
    if [ -e /proc/sys/net/bridge ] && echo 1 >"${call}_iptables" && echo 1 >"${call}_ip6tables"; then
        [ ! -e /proc/net/if_inet6 ] || ip6tables -w -I FORWARD 1 -o "$1" -j DROP
    else
        ebtables -A FORWARD --logical-in "$1" -j DROP
    fi || echo "containers on $1 can reach each other"
}

up() { # BRIDGE
    local bridge=$1 subnet
    subnet=$(subnet_of "$bridge")
    if [ -z "$subnet" ]; then
        ip link delete "$bridge" 2>/dev/null || true
        subnet=$(free_subnet "$bridge")
        ip link add name "$bridge" type bridge
        # No second way to this machine, past the rules for IPv4.
        echo 1 >"/proc/sys/net/ipv6/conf/$bridge/disable_ipv6" 2>/dev/null || true
        ip addr add "$subnet.1/24" dev "$bridge"
        ip link set "$bridge" up
    fi
    printf '%s.0/24\n' "$subnet"
    command -v iptables-restore >/dev/null || return 3
    unhook "$bridge"
    { forwarding && rules "$bridge" "$subnet" | iptables-restore -w --noflush; } || return 3
    between "$bridge" >&2
}

down() { # BRIDGE
    unhook "$1"
    ip link delete "$1" 2>/dev/null || true
}

case ${1:-} in
up | down) [ $# -eq 2 ] || { echo "usage: tools/engine-net.sh up|down BRIDGE" >&2; exit 2; }; "$1" "$2" ;;
*) echo "usage: tools/engine-net.sh up|down BRIDGE" >&2; exit 2 ;;
esac
