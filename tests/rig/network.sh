# Sourced by a script in a network namespace of its own (unshare -rn): loopback with multicast, an address that is not
# 127.0.0.1 for programs that insist on one, and ways to wait.

ip link set lo up multicast on
ip addr add 192.0.2.1/32 dev lo
ip route add 224.0.0.0/4 dev lo

# await CONDITION…: looks every 50 ms whether it holds, for 10 s; the script ends where it does not.
await() {
    local tries=200
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "in vain: $*" >&2; exit 1; }
        sleep 0.05
    done
}

# udp PORT: somebody has bound it.
udp() { grep -qi "$(printf ':%04X 0' "$1")" /proc/net/udp /proc/net/udp6; }

# holds FILE BYTES: as many as that.
holds() { [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -ge "$2" ]; }
