#!/usr/bin/env python3
"""Shows two WAV files above each other, and says how far the second is a copy of the first.

compare.py SAID HEARD [--svg FILE] [--stats DIR]

Aligns them by correlation, draws both on the terminal (and as SVG), and prints lengths, offset, correlation, silence
inside speech, and what the stages of the demo counted. Standard library only.
"""

import argparse
import array
import json
import math
import os
import sys
import wave

BLOCKS = " ▁▂▃▄▅▆▇█"


def read(path):
    with wave.open(path) as file:
        if file.getsampwidth() != 2:
            sys.exit(f"compare: {path}: only 16-bit files are compared")
        samples = array.array("h", file.readframes(file.getnframes()))
        channels = file.getnchannels()
        return samples[::channels], file.getframerate()


def envelope(samples, step):
    return [max(map(abs, samples[i:i + step]), default=0) for i in range(0, len(samples), step)]


def correlate(a, b, lag):
    """Normalised correlation of a with b moved by lag."""
    begin, end = max(0, -lag), min(len(a), len(b) - lag)
    if end <= begin:
        return 0.0
    x, y = a[begin:end], b[begin + lag:end + lag]
    power = math.sqrt(math.sumprod(x, x) * math.sumprod(y, y)) if hasattr(math, "sumprod") else math.sqrt(
        sum(i * i for i in x) * sum(j * j for j in y))
    dot = math.sumprod(x, y) if hasattr(math, "sumprod") else sum(i * j for i, j in zip(x, y))
    return dot / power if power else 0.0


def align(said, heard, rate):
    """Offset in samples of heard against said, and the correlation there: by envelopes, then by a loud passage."""
    step = rate // 500
    a, b = envelope(said, step), envelope(heard, step)
    coarse = max(range(-500, 501), key=lambda lag: correlate(a, b, lag)) * step
    window = rate // 2
    loudest = max(range(0, max(1, len(said) - window), window), key=lambda i: sum(map(abs, said[i:i + window])))
    passage = [float(s) for s in said[loudest:loudest + window:1]]
    best = (0.0, 0)
    for stride, reach in ((4, 3 * step), (1, 4)):
        centre = coarse if stride == 4 else best[1]
        for lag in range(centre - reach, centre + reach + 1, stride):
            at = loudest + lag
            if at < 0 or at + window > len(heard):
                continue
            got = [float(s) for s in heard[at:at + window]]
            best = max(best, (correlate(passage, got, 0), lag))
    return best[1], best[0]


def line(samples, width):
    step = max(1, len(samples) // width)
    peaks = envelope(samples, step)[:width]
    top = max(peaks, default=1) or 1
    return "".join(BLOCKS[min(8, round(8 * math.sqrt(peak / top)))] for peak in peaks)


def svg(path, tracks, rate):
    width, height = 1200, 120
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{len(tracks) * (height + 24)}" '
             'font-family="sans-serif" font-size="14"><rect width="100%" height="100%" fill="white"/>']
    longest = max(len(samples) for _, samples in tracks)
    for row, (name, samples) in enumerate(tracks):
        top = row * (height + 24)
        middle = top + 24 + height / 2
        parts.append(f'<text x="4" y="{top + 16}">{name}: {len(samples) / rate:.3f} s</text>')
        for x, peak in enumerate(envelope(samples, max(1, longest // width))[:width]):
            half = max(0.5, peak / 32768 * height / 2)
            parts.append(f'<line x1="{x}" x2="{x}" y1="{middle - half:.1f}" y2="{middle + half:.1f}" stroke="#2a6fb0"/>')
    parts.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts))


def last_line(directory, name):
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            return json.loads(file.read().strip().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("said")
    parser.add_argument("heard")
    parser.add_argument("--svg")
    parser.add_argument("--stats")
    args = parser.parse_args()
    said, rate = read(args.said)
    heard, heard_rate = read(args.heard)
    if rate != heard_rate:
        sys.exit(f"compare: {args.said} has {rate} Hz, {args.heard} {heard_rate} Hz")
    lag, correlation = align(said, heard, rate)

    width = 100
    print(f"\n  said  {line(said, width)}")
    print(f"  heard {line(heard, width)}\n")
    print(f"  length       said {len(said) / rate:.3f} s, heard {len(heard) / rate:.3f} s")
    print(f"  offset       {lag / rate * 1000:+.1f} ms in the file (Opus itself delays by 6.5 ms)")
    print(f"  correlation  {correlation:.4f} over the loudest half second")
    if args.stats:
        for name in ("send", "recv", "jitter", "inspect"):
            facts = last_line(args.stats, f"{name}.jsonl")
            if facts:
                shown = {key: value for key, value in facts.items() if isinstance(value, (int, float, str))}
                print(f"  {name:<12} " + ", ".join(f"{key} {value}" for key, value in list(shown.items())[:8]))
    if args.svg:
        svg(args.svg, [("said", said), ("heard", heard)], rate)
        print(f"  picture      {args.svg}")
    return 0 if correlation > 0.7 else 1


if __name__ == "__main__":
    sys.exit(main())
