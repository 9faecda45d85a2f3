#!/usr/bin/env python3
"""Measures mouth to ear: how long after something is said into a microphone it is heard at a loudspeaker.

    scripts/latency.py [--seconds N] NAME='RECEIVER ;; SENDER' ...

The sound card is none: a private PulseAudio (tests/rig/pulse-up) with one microphone and one loudspeaker,
both recorded beside each other on one clock. Candidates
take turns. RECEIVER and SENDER are shell lines; they find the microphone and the loudspeaker as ALSA's and PulseAudio's default device, and a free UDP port as $PORT. One that needs no receiver leaves it empty.
Standard library only.
"""

import argparse
import array
import math
import operator
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RATE = 48_000
# What is looked at has a sixth of the rate: 0.125 ms.
STEP = 6
BURST_S, LONGEST_S = 0.04, 0.6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="how long it is measured (default: 20)")
    parser.add_argument("--rounds", type=int, default=1, help="how often all of them take turns (default: 1)")
    parser.add_argument("--ppm", default="0", help="how much too fast the clock of the sound card runs (default: 0)")
    parser.add_argument("candidates", nargs="+", metavar="NAME='RECEIVER ;; SENDER'")
    args = parser.parse_args()
    candidates = {}
    for text in args.candidates:
        name, _, lines = text.partition("=")
        receiver, _, sender = lines.partition(";;")
        candidates[name] = (receiver.strip(), sender.strip())
    for name, heard in measure(candidates, args.seconds, args.rounds, args.ppm).items():
        print(f"{name:24} {heard}")


class Heard:
    """The delays of the bursts that were heard, in ms, in the order in which they were said."""

    def __init__(self):
        self.said, self.delays, self.stderr = 0, [], ""

    def add(self, said, delays, stderr):
        self.said += said
        self.delays += delays
        self.stderr += stderr

    def median(self):
        return percentile(self.delays, 0.5)

    def spread(self):
        return percentile(self.delays, 0.95) - percentile(self.delays, 0.05)

    def __str__(self):
        if not self.delays:
            return f"nothing heard of {self.said} bursts; {self.stderr[-300:]}"
        first, last = self.delays[0], self.delays[-1]
        return (f"median {self.median():6.1f} ms, {min(self.delays):.1f} to {max(self.delays):.1f}, first {first:.1f}, "
                f"last {last:.1f}, {len(self.delays)} of {self.said} heard")


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else math.nan


def measure(candidates, seconds, rounds=1, ppm="0"):
    """Runs the candidates (name -> (receiver, sender)) in turn, each for so many seconds; gives what was heard of
    each. Two at a time would make each other late in PulseAudio."""
    heard = {name: Heard() for name in candidates}
    for _ in range(rounds):
        for name, (receiver, sender) in candidates.items():
            measure_one(receiver, sender, seconds, heard[name], ppm)
    return heard


def measure_one(receiver, sender, seconds, heard, ppm="0"):
    scratch = Path(tempfile.mkdtemp(prefix="vox-latency-"))
    card = Card(scratch, ppm)
    pair = None
    try:
        said = bursts(scratch / "said.wav", seconds)
        pair = Pair(card, receiver, sender)
        time.sleep(2)
        card.record(scratch / "said.wav", scratch / "both.raw", seconds)
        stderr = pair.stop()
        heard.add(said, delays(*read_tracks(scratch / "both.raw")), stderr)
    finally:
        if pair:
            pair.stop()
        card.remove()
        shutil.rmtree(scratch, ignore_errors=True)


class Card:
    """A PulseAudio of its own."""

    def __init__(self, scratch, ppm="0"):
        self.pids = scratch / "card/pids"
        command = ["setsid", "--wait", ROOT / "tests/rig/pulse-up", scratch / "card", ppm]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        self.environment = f"{lines}\nexport PULSE_SOURCE=micsrc PULSE_SINK=spk\n"

    def shell(self, line, **how):
        return subprocess.Popen(["bash", "-c", self.environment + line], start_new_session=True,
                                stdin=subprocess.DEVNULL, **how)

    def record(self, said, tape, seconds):
        """Says what is in the file and records what is heard meanwhile."""
        with open(tape, "wb") as out:
            parec = self.shell(f"exec $promptly parec -d bus.monitor --raw --rate={RATE} --channels=2 --format=s16le "
                               "--latency-msec=20", stdout=out)
        while tape.stat().st_size < RATE * 2:
            time.sleep(0.05)
        speaker = self.shell(f"exec $promptly paplay -d mic --latency-msec=20 {said}")
        speaker.wait(seconds + 30)
        time.sleep(1)
        kill(parec)

    def remove(self):
        pids = self.pids.read_text().split() if self.pids.exists() else []
        for pid in map(int, pids):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass


class Pair:
    """A receiver and a sender that run."""

    def __init__(self, card, receiver, sender):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1] & ~1
        self.log = tempfile.TemporaryFile()
        self.processes = []
        for line in filter(None, (receiver, sender)):
            self.processes.append(card.shell(f"export PORT={port}\n{line}", stdout=subprocess.DEVNULL, stderr=self.log))
            time.sleep(0.5)

    def stop(self):
        """Ends both; gives what they wrote to stderr."""
        for process in reversed(self.processes):
            kill(process)
        self.processes = []
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


def kill(process):
    """Interrupts the whole session that was started, and ends what does not listen."""
    for what in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, what)
        except ProcessLookupError:
            pass
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            continue
        if what == signal.SIGINT:
            time.sleep(0.3)


def bursts(path, seconds):
    """Writes rising tones of 40 ms, about one a second, over a little noise; gives how many."""
    rng = random.Random(1)
    samples = array.array("h", (int(rng.gauss(0, 8)) for _ in range(int(seconds * RATE))))
    count = int(BURST_S * RATE)
    burst = []
    for n in range(count):
        t = n / RATE
        phase = math.tau * (300 * t + (3_400 - 300) * t * t / (2 * BURST_S))
        burst.append(int(16_000 * math.sin(phase) * (0.5 - 0.5 * math.cos(math.tau * n / count))))
    starts, at = [], 1.0
    while at < seconds - 1:
        starts.append(at)
        begin = int(at * RATE)
        for n, sample in enumerate(burst):
            samples[begin + n] += sample
        at += rng.uniform(0.7, 1.3)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    return len(starts)


def read_tracks(path):
    """Both channels of a recording, each at a sixth of its rate: what was said, and what was heard."""
    data = array.array("h", path.read_bytes()[:path.stat().st_size // 4 * 4])
    tracks = []
    for track in (data[::2], data[1::2]):
        parts = [track[n::STEP] for n in range(STEP)]
        tracks.append([sum(group) / STEP for group in zip(*parts)])
    return tracks


def delays(said, heard):
    """Where each burst of one track is found again in the other, in ms after it; those that are not are left out."""
    length, rest, found, skip = int(BURST_S * RATE / STEP), int(0.3 * RATE / STEP), [], 0
    longest = int(LONGEST_S * RATE / STEP)
    for at, sample in enumerate(said):
        if at < skip or abs(sample) < 2_000:
            continue
        skip = at + rest
        begin = max(0, at - length // 2)
        template = said[begin:begin + 2 * length]
        stretch = heard[begin:begin + longest + len(template)]
        if len(stretch) < longest + len(template):
            break
        lag, likeness = best_lag(template, stretch, longest)
        if likeness > 0.5:
            found.append(lag * STEP / RATE * 1000)
    return found


def best_lag(template, stretch, longest):
    """The lag at which a template is most like a stretch, and how like it is, 0 to 1."""
    norm = math.sqrt(sum(map(operator.mul, template, template)))
    best = (0, 0.0)
    size = len(template)
    power = sum(x * x for x in stretch[:size])
    for lag in range(longest):
        # Where there is no power there is nothing to be found.
        if power > 1e5 * size / 10:
            piece = stretch[lag:lag + size]
            likeness = abs(sum(map(operator.mul, template, piece))) / (norm * math.sqrt(power))
            if likeness > best[1]:
                best = (lag, likeness)
        power += stretch[lag + size] ** 2 - stretch[lag] ** 2
    return best


if __name__ == "__main__":
    sys.exit(main())
