#!/usr/bin/env python3
"""A stage of Voxpipe in Python, from docs/frame-format.md alone: gain.py DB changes the level of PCM streams.

Everything else passes through untouched. Exit codes: 0 in good order, 2 wrong usage, 3 bad input.
"""

import array
import json
import os
import select
import signal
import struct
import sys
import zlib

MAGIC = b"\x93VOX\r\n\x1a\n"
OPENING = 40
FIXED = 16
MAX_HEAD, MAX_PAYLOAD, MAX_WRITE = 1024, 65535, 4096


class Bad(Exception):
    pass


class Splitter:
    """Cuts bytes into openings and records."""

    def __init__(self):
        self.buffer = b""
        self.offset = 0
        self.opened = False

    def next(self):
        """The next item as bytes, or None when more bytes are needed."""
        data = self.buffer
        if not data:
            return None
        if not self.opened or data[0] == MAGIC[0]:
            if not data.startswith(MAGIC[: len(data)]):
                raise Bad("stdin is not a vox stream")
            length = OPENING
            if len(data) >= OPENING:
                if zlib.crc32(data[:36]) != struct.unpack_from("<I", data, 36)[0]:
                    raise Bad(f"stdin is damaged at byte {self.offset}: the opening's check is wrong")
                if struct.unpack_from("<H", data, 8)[0] > 1:
                    raise Bad("stdin has a newer version of the format")
        else:
            if not chr(data[0]).isascii() or not chr(data[0]).isalpha():
                raise Bad(f"stdin is damaged at byte {self.offset}: no record begins here")
            if len(data) < FIXED:
                return None
            head, payload = struct.unpack_from("<HI", data, 2)
            if head > MAX_HEAD or payload > MAX_PAYLOAD:
                raise Bad(f"stdin is damaged at byte {self.offset}: a record that is too long")
            if len(data) < FIXED + head:
                return None
            check = zlib.crc32(data[FIXED : FIXED + head], zlib.crc32(data[:12]))
            if check != struct.unpack_from("<I", data, 12)[0]:
                raise Bad(f"stdin is damaged at byte {self.offset}: a record's check is wrong")
            length = FIXED + head + payload
        if len(data) < length:
            return None
        self.opened = True
        self.buffer = data[length:]
        self.offset += length
        return data[:length]


class Gain:
    def __init__(self, factor):
        self.factor = factor
        self.codecs = {}

    def handle(self, item):
        """The item as it goes out."""
        if item[0] == MAGIC[0]:
            return item
        kind = item[0:1]
        (head,) = struct.unpack_from("<H", item, 2)
        (stream,) = struct.unpack_from("<I", item, 8)
        payload = item[FIXED + head :]
        if kind == b"F":
            self.codecs[stream] = json.loads(payload)["codec"]
        elif kind == b"Z":
            self.codecs.pop(stream, None)
        elif kind == b"A" and self.codecs.get(stream) in ("pcm_s16le", "pcm_f32le"):
            # The check covers the header only, and the length stays: the header goes out as it came.
            return item[: FIXED + head] + self.scale(self.codecs[stream], payload)
        return item

    def scale(self, codec, payload):
        size = 2 if codec == "pcm_s16le" else 4
        whole = len(payload) // size * size
        samples = array.array("h" if size == 2 else "f", payload[:whole])
        if sys.byteorder == "big":
            samples.byteswap()
        if size == 2:
            samples = array.array("h", (max(-32768, min(32767, round(s * self.factor))) for s in samples))
        else:
            samples = array.array("f", (s * self.factor for s in samples))
        if sys.byteorder == "big":
            samples.byteswap()
        return samples.tobytes() + payload[whole:]


def write_all(data):
    while data:
        data = data[os.write(1, data) :]


def run(gain):
    splitter, out = Splitter(), b""
    while True:
        item = splitter.next()
        if item is not None:
            item = gain.handle(item)
            # Whole records in a write, and no more than the kernel keeps together.
            if len(out) + len(item) > MAX_WRITE:
                write_all(out)
                out = b""
            out += item
            continue
        if out and not select.select([0], [], [], 0)[0]:
            write_all(out)
            out = b""
        data = os.read(0, 65536)
        if not data:
            write_all(out)
            if splitter.buffer or not splitter.opened:
                raise Bad(f"stdin is damaged at byte {splitter.offset}: the stream ends inside a record")
            return
        splitter.buffer += data


def main():
    try:
        factor = 10 ** (float(sys.argv[1]) / 20)
    except (IndexError, ValueError):
        print("usage: gain.py DB    (between two stages: vox-capture talk.wav | gain.py -6 | vox-play)", file=sys.stderr)
        return 2
    if os.isatty(0) or os.isatty(1):
        print("gain.py: stdin and stdout are vox streams, not terminals", file=sys.stderr)
        return 2
    # After Ctrl-C the stage before ends its stream; this one goes on until then, and gives up after a second.
    def stop(_signal, _frame):
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.alarm(1)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        run(Gain(factor))
    except BrokenPipeError:
        pass
    except Bad as bad:
        print(f"gain.py: {bad}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
