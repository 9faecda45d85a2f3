#!/usr/bin/env python3
"""Presses telephone keys in a vox stream on its way from stdin to stdout, from docs/frame-format.md alone:

    press.py KEYS      each key for 100 ms, one every 25 packets
"""
import json
import struct
import sys
import zlib

keys = list(sys.argv[1])
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write


def event(stream, media_time, key):
    payload = json.dumps({"event": "telephone-event", "key": key, "duration_ms": 100, "volume": 10}).encode()
    start = struct.pack("<cBHII", b"E", 0, 8, len(payload), stream)
    head = struct.pack("<q", media_time)
    return start + struct.pack("<I", zlib.crc32(head, zlib.crc32(start))) + head + payload


write(read(40))
packets = 0
while start := read(16):
    kind, _, head, payload, stream, _ = struct.unpack("<cBHIII", start)
    rest = read(head + payload)
    if kind == b"A":
        packets += 1
        if packets % 25 == 0 and keys:
            write(event(stream, struct.unpack_from("<q", rest, 8)[0], keys.pop(0)))
    write(start + rest)
    sys.stdout.buffer.flush()
