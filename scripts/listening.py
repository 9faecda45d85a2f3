#!/usr/bin/env python3
"""Measures what listening to one live stream costs: CPU of receivers that hear the same speech at the same time.

    scripts/listening.py [--seconds N] [--bin DIR] [--jitter ARGS] [--play ARGS] [--turn N] [--floor PROGRAM] SPEECH.wav

All of them run side by side, so that they share what the machine is busy with: the vox receiver, GStreamer's and trx's
play 20 ms Opus on the loudspeaker of a private PulseAudio (tests/rig/pulse-up), and once more the first two play into
nothing. Time is that of every thread, as the scheduler counts it, after the first seconds. Standard library only.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import latency

WARM_UP_S = 6
# Who takes less than that of a core hears nothing.
LEAST = 0.001
CAPS = "application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,payload=96"
GST = f"exec gst-launch-1.0 -q udpsrc port=$PORT caps={CAPS} ! rtpjitterbuffer latency=40 ! rtpopusdepay ! opusdec"
VOX = "$BIN/vox-recv :$PORT --map 96=opus/48000/2 | $BIN/vox-jitter $JITTER | $BIN/vox-play"

# name -> (receiver, where the stream comes from)
RECEIVERS = {
    "vox": (f"{VOX} $PLAY", "vox-send"),
    "gst": (f"{GST} ! pulsesink", "vox-send"),
    "trx": ("exec trx-rx -h 127.0.0.1 -p $PORT -c 1", "trx-tx"),
    "vox, null": (f"{VOX} null", "vox-send"),
    "gst, null": (f"{GST} ! fakesink sync=true", "vox-send"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="how long it is measured (20)")
    parser.add_argument("--bin", default="target/release", metavar="DIR", help="where the stages are (target/release)")
    parser.add_argument("--jitter", default="", metavar="ARGS", help="more arguments for vox-jitter")
    parser.add_argument("--play", default="", metavar="ARGS", help="more arguments for vox-play")
    parser.add_argument("--turn", type=int, default=0, metavar="N", help="which receiver the stream is sent to first (0)")
    parser.add_argument("--floor", metavar="PROGRAM", help="benches/floors/listen, compiled: the least that it can cost")
    parser.add_argument("--json", action="store_true", help="print JSON: per receiver and program, part of a core")
    parser.add_argument("speech", help="a WAV of speech")
    args = parser.parse_args()
    speech, stages = Path(args.speech).resolve(), Path(args.bin).resolve()
    costs = measure(speech, args.seconds, stages, args.jitter, args.play, args.turn, args.floor)
    if args.json:
        print(json.dumps(costs))
        return
    for name, programs in costs.items():
        each = ", ".join(f"{program} {100 * share:.2f}" for program, share in sorted(programs.items()))
        print(f"{name:10} {100 * sum(programs.values()):5.2f} % of a core: {each}")


def measure(speech, seconds, stages, jitter="", play="", turn=0, floor=None):
    """name -> program -> the part of a core that it takes. Whoever is sent to first pays for a machine that slept: `turn`
    says who that is. `floor` is benches/floors/listen, compiled."""
    wanted = {"gst": "gst-launch-1.0", "trx": "trx-rx"}
    receivers = {
        name: lines for name, lines in RECEIVERS.items() if shutil.which(wanted.get(name.split(",")[0], "sh"))
    }
    if floor:
        receivers |= {"floor": (f"exec {floor} $PORT", "vox-send"), "floor, null": (f"exec {floor} $PORT null", "vox-send")}
    names = list(receivers)
    receivers = {name: receivers[name] for name in names[turn % len(names):] + names[:turn % len(names)]}
    scratch = Path(tempfile.mkdtemp(prefix="vox-listening-"))
    card, running = latency.Card(scratch), []
    try:
        set_up = f"BIN='{stages}'; JITTER='{jitter}'; PLAY='{play}'; export PULSE_SINK=spk PULSE_SOURCE=micsrc\n"

        def start(line):
            running.append(card.shell(set_up + line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            return running[-1].pid

        ports = free_ports(len(receivers))
        sessions = {name: start(f"PORT={port}; {receivers[name][0]}") for name, port in zip(receivers, ports)}
        time.sleep(1)
        ours = " ".join(f"127.0.0.1:{port}" for name, port in zip(receivers, ports) if receivers[name][1] == "vox-send")
        start(f"$BIN/vox-capture {speech} --loop | $BIN/vox-encode opus | $BIN/vox-send {ours}")
        if "trx" in receivers:
            start(f"while paplay -d mic {speech}; do :; done")
            start(f"exec trx-tx -h 127.0.0.1 -p {ports[list(receivers).index('trx')]} -c 1")
        time.sleep(WARM_UP_S)
        before, began = {name: spent(session) for name, session in sessions.items()}, time.monotonic()
        time.sleep(seconds)
        after, took = {name: spent(session) for name, session in sessions.items()}, time.monotonic() - began
        costs = {name: shares(before[name], after[name], took) for name in sessions}
        silent = [name for name, programs in costs.items() if sum(programs.values()) < LEAST]
        if silent:
            raise RuntimeError(f"did not play: {', '.join(silent)}")
        return costs
    finally:
        for process in reversed(running):
            latency.kill(process)
        card.remove()
        shutil.rmtree(scratch, ignore_errors=True)


def free_ports(count):
    """Even ports that are free, with the next one for reports."""
    found = []
    while len(found) < count:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1] & ~1
        if port not in found:
            found.append(port)
    return found


def spent(session):
    """(program, process, thread) -> ns, of everything in a session."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            name = (process / "comm").read_text().strip()
            for task in (process / "task").iterdir():
                found[name, process.name, task.name] = int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def shares(before, after, seconds):
    totals = {}
    for key, ns in after.items():
        if key[0] not in ("bash", "sh"):
            totals[key[0]] = totals.get(key[0], 0) + (ns - before.get(key, 0)) / 1e9 / seconds
    return totals


if __name__ == "__main__":
    sys.exit(main())
