"""What forwarding RTP costs, `vox-recv | vox-send` beside a bare loop of recvfrom and sendto: a part of scripts/bench."""

import subprocess

STREAMS = 400
SHAPES = [(20_000, 10), (20_000, 1), (2_500, 50)]
PORT, OUT = 28_000, 28_100
LIMIT = 2.0


def relay(bench, floors, vox, timed, note):
    """Alternates the loop and the relay at each rate and fan-out; bounds the ratio of their CPU time and the loss."""
    seconds = 10 if bench.full else 3
    rounds = 5 if bench.full else 3
    for rate, fanout in SHAPES:
        costs = {"loop": [], "vox": []}
        lost = 0
        for number in range(rounds):
            for name, run in (("loop", loop), ("vox", ours)):
                cpu, arrived, sent = run(floors, vox, timed, rate, fanout, seconds)
                costs[name].append(cpu / max(arrived, 1) * 1e9)
                if name == "vox":
                    lost += sent * fanout - arrived
            note(f"  {rate}/s to {fanout}, round {number + 1}: " + ", ".join(f"{n} {c[-1]:.0f} ns" for n, c in costs.items()))
        for name, values in costs.items():
            bench.report.figure("relay", f"{name}, {rate}/s to {fanout}: CPU a packet sent", sorted(values)[rounds // 2], "ns")
        ratio = sorted(ours / loop for ours, loop in zip(costs["vox"], costs["loop"]))[rounds // 2]
        bench.report.bound("relay", f"vox-recv | vox-send / bare loop, {rate}/s to {fanout}", ratio, LIMIT)
        bench.report.figure("relay", f"vox, {rate}/s to {fanout}: packets lost", lost, f"of {rate * seconds * fanout * rounds}")


def loop(floors, _vox, timed, rate, fanout, seconds):
    return forwarded(floors, rate, fanout, seconds,
                     lambda: timed([floors / "relay", "loop", PORT, fanout, OUT]))


def ours(floors, vox, timed, rate, fanout, seconds):
    recv = vox("recv", f":{PORT}", "--no-rtcp", "--max-sources", 1024, "--idle-timeout", "1s")
    send = vox("send", *[f"127.0.0.1:{OUT + index}" for index in range(fanout)], "--no-rtcp")
    return forwarded(floors, rate, fanout, seconds, lambda: timed(recv, send))


def forwarded(floors, rate, fanout, seconds, start):
    """Runs a forwarder between a sender and a counter: its CPU seconds, what arrived, what was sent."""
    relay = str(floors / "relay")
    counter = subprocess.Popen([relay, "count", str(OUT), str(fanout)], stdout=subprocess.PIPE, text=True)
    sender = subprocess.Popen(["sh", "-c", f"until grep -q ':{PORT:04X} ' /proc/net/udp; do sleep 0.05; done; "
                               f"exec {relay} send {PORT} {rate} {seconds} {STREAMS}"], stdout=subprocess.PIPE, text=True)
    rows = start()
    sent = int(sender.communicate(timeout=30)[0])
    arrived = int(counter.communicate(timeout=30)[0])
    return sum(row.cpu for row in rows), arrived, sent
