#!/usr/bin/env python3
"""Counts what passes through a pipe: a stage after docs/frame-format.md, standard library only.

    vox-capture talk.wav | vox-encode opus | python3 stats.py | vox-decode | vox-play

Every byte passes unchanged and in order. At the end each stream is one line of JSON on stderr:

    id, codec, rate, channels   of its Format, and its label if it has one
    packets                     Audio records, of which padding and recovered
    gaps                        by reason: how many, and the sum of their media durations in ticks
    duration                    sum of the media durations of its Audio in ticks
    first                       media time of its first Audio or Gap, null if there is none
    end                         media time and reason of its End, null if it has none
    contiguous, jumps           whether each Audio or Gap begins where the one before it ended, and how often not
    unknown                     records of a kind that this program does not know

With --strict a stream that breaks off without an End is an error (3), not a warning.
"""

try:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is loaded
except KeyboardInterrupt:
    raise SystemExit(130) from None

import argparse
import fcntl
import json
import os
import select
import stat
import struct
import sys
import time
import zlib

STDIN, STDOUT, STDERR = 0, 1, 2
MAGIC = b"\x93VOX\r\n\x1a\n"
OPENING = struct.Struct("<8sHHq16sI")  # magic, major, minor, anchor, boot id, check
HEADER = struct.Struct("<cBHIII")  # kind, flags, length of the head, of the payload, id, check
AUDIO = struct.Struct("<QQI")  # sequence number, media time, duration
GAP = struct.Struct("<QQQIIB")  # sequence number, media time, duration, packets, ahead, reason
END = struct.Struct("<Q")  # media time
MAX_HEAD, MAX_PAYLOAD, MAX_JSON = 1024, 65535, 3072
MAX_RECORD = HEADER.size + MAX_HEAD + MAX_PAYLOAD
TIMES = (0x01, 0x02, 0x04)  # captured, arrived, due: 8 bytes each
SLOT, RECOVERED, PADDING = 0x08, 0x20, 0x40
REASONS = {1: "lost", 2: "late", 3: "overrun", 4: "muted", 5: "silent"}
GRACE = 1.0  # seconds that the input has to end after a signal


class Fault(Exception):
    """The input is not what it should be: exit code 3."""


class Late(Exception):
    """The time that a signal left is over."""


def say(text):
    """A line on stderr, if anybody still reads it."""
    try:
        os.write(STDERR, (text + "\n").encode())
    except OSError:
        pass


class Counter:
    """Takes bytes, finds the records in them, and counts."""

    def __init__(self):
        self.buffer = bytearray()  # input that is not a whole record yet
        self.offset = 0  # where the buffer begins in the input
        self.lines = []  # what is counted, a dict a stream, in the order of their Formats
        self.open = {}  # by id, those that have no End yet
        self.next = {}  # by id, the media time at which the next Audio or Gap should begin
        self.strays = 0  # records outside a stream
        self.live = False  # whether a live stream has come by

    def damaged(self, what):
        return Fault(f"stdin is damaged at byte {self.offset}: {what}")

    def take(self, data):
        """Yields the openings and records that are complete with this data."""
        self.buffer += data
        while size := self.size():
            record = bytes(self.buffer[:size])
            if record[0] != MAGIC[0]:
                self.count(record)
            yield record
            del self.buffer[:size]
            self.offset += size

    def size(self):
        """Length of the opening or record that the buffer begins with, 0 while it is incomplete."""
        buffer, begun = self.buffer, self.buffer[:1]
        if not buffer.startswith(MAGIC[: len(buffer)]):
            if self.offset == 0:
                raise Fault(f"stdin is not a vox stream (it begins with {bytes(buffer[:8])!r})")
            if not (begun.isascii() and begun.isalpha()):
                raise self.damaged(f"no record begins here (kind byte {begun[0]:#04x})")
        elif len(buffer) < OPENING.size:
            return 0
        else:
            _, major, minor, _, _, check = OPENING.unpack_from(buffer)
            if zlib.crc32(buffer[: OPENING.size - 4]) != check:
                raise self.damaged("the check of the opening is wrong")
            if major > 1:
                raise self.damaged(f"version {major}.{minor} of the format, this program reads up to 1")
            return OPENING.size
        if len(buffer) < HEADER.size:
            return 0
        _, _, head, payload, _, check = HEADER.unpack_from(buffer)
        if head > MAX_HEAD or payload > MAX_PAYLOAD:
            raise self.damaged(f"a head of {head} and a payload of {payload} bytes are too long")
        end = HEADER.size + head
        if len(buffer) < end:
            return 0
        if zlib.crc32(buffer[HEADER.size : end], zlib.crc32(buffer[:12])) != check:
            raise self.damaged("the check of the record is wrong")
        return end + payload if len(buffer) >= end + payload else 0

    def count(self, record):
        kind, flags, size, _, id, _ = HEADER.unpack_from(record)
        head, payload = record[HEADER.size : HEADER.size + size], record[HEADER.size + size :]
        if kind == b"F":  # a stream of that id that is open ends here, without an End
            return self.begin(id, self.format(payload))
        line = self.open.get(id, {})
        self.strays += not line and kind != b"E"  # an Event may be about the pipe as a whole
        if kind == b"A":
            _, begin, duration = self.fields(AUDIO, flags, 4, head)
            if line:
                line["packets"] += 1
                line["padding"] += bool(flags & PADDING)
                line["recovered"] += bool(flags & RECOVERED)
                line["duration"] += duration
                self.advance(id, begin, duration)
        elif kind == b"G":
            _, begin, duration, _, _, reason = self.fields(GAP, flags, 8, head)
            if line:
                sums = line["gaps"].setdefault(REASONS.get(reason, "other"), {"count": 0, "ticks": 0})
                sums["count"] += 1
                sums["ticks"] += duration
                self.advance(id, begin, duration)
        elif kind == b"Z":
            (end,) = self.fields(END, flags, 0, head)
            reason = self.json(payload).get("reason")
            if not isinstance(reason, str):
                raise self.damaged("an End without a reason")
            if line:
                line["end"] = {"time": end, "reason": reason}
                del self.open[id]
        elif kind != b"E" and line:
            line["unknown"] += 1

    def begin(self, id, format):
        line = {"id": f"{id:08x}", "codec": format["codec"], "rate": format["rate"], "channels": format["channels"]}
        if isinstance(format.get("label"), str):
            line["label"] = format["label"]
        line |= {"packets": 0, "padding": 0, "recovered": 0, "gaps": {}, "duration": 0, "first": None}
        line |= {"end": None, "contiguous": True, "jumps": 0, "unknown": 0}
        self.lines.append(line)
        self.open[id], self.next[id] = line, 0
        self.live = self.live or format.get("live") is True

    def advance(self, id, begin, duration):
        line = self.open[id]
        if line["first"] is None:
            line["first"] = begin
        elif begin != self.next[id]:
            line["jumps"] += 1
            line["contiguous"] = False
        self.next[id] = min(begin + duration, 2**64 - 1)

    def fields(self, layout, flags, slot, head):
        """The fixed fields of a head, which holds the times and the slot of its flags too."""
        least = layout.size + sum(8 for flag in TIMES if flags & flag) + (slot if flags & SLOT else 0)
        if len(head) < least:
            raise self.damaged(f"a head of {len(head)} bytes, its fields take {least}")
        return layout.unpack_from(head)

    def format(self, payload):
        format = self.json(payload)
        if not isinstance(format.get("codec"), str):
            raise self.damaged("a Format without a codec")
        if format["codec"] == "opus" and format.get("rate") != 48000:
            raise self.damaged("a Format for Opus whose rate is not 48000")
        for key, limit in (("rate", 768000), ("channels", 255)):
            if type(format.get(key)) is not int or not 1 <= format[key] <= limit:
                raise self.damaged(f"a Format whose {key} is not a number from 1 to {limit}")
        return format

    def json(self, payload):
        if len(payload) > MAX_JSON:
            raise self.damaged(f"{len(payload)} bytes of JSON (the limit is {MAX_JSON})")
        try:
            value = json.loads(payload.decode())
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self.damaged("a payload that is not a JSON object")
        return value

    def finish(self):
        """The input is over."""
        if self.buffer:
            raise self.damaged(f"the stream ends inside a record (after {len(self.buffer)} bytes)")
        if self.offset == 0:
            raise Fault("stdin is not a vox stream (it is empty)")

    def ends(self):
        """An End for each stream that is open, where its last Audio or Gap ended."""
        for id in self.open:
            head, payload = END.pack(self.next[id]), b'{"reason":"stopped"}'
            header = HEADER.pack(b"Z", 0, len(head), len(payload), id, 0)[:12]
            yield header + struct.pack("<I", zlib.crc32(head, zlib.crc32(header))) + head + payload


class Pipe:
    """Stdin and stdout. The first signal sets a deadline, the second ends the program."""

    def __init__(self):
        self.deadline = None
        self.limit = 65536 if stat.S_ISREG(os.fstat(STDOUT).st_mode) else 4096  # bytes in a write
        self.waiting = bytearray()  # whole records, not written yet
        self.wake, wake = os.pipe()  # a signal ends a wait
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.stop)

    def stop(self, _number, _frame):
        if self.deadline is not None:
            os._exit(0)
        self.deadline = time.monotonic() + GRACE

    def wait(self, reads, writes):
        """Until one of them is ready; at most until the deadline, and then it only looks."""
        while True:
            left, wake = None, [self.wake]
            if self.deadline is not None:
                left, wake = max(0, self.deadline - time.monotonic()), []
            readable, writable, _ = select.select(reads + wake, writes, [], left)
            if left == 0 and not writable:
                raise Late
            if writable or set(readable) & set(reads):
                return

    def read(self, size):
        """What has come; nothing at the end."""
        self.wait([STDIN], [])
        return os.read(STDIN, size)

    def write(self, record):
        """Keeps whole records until they fill a write."""
        if len(self.waiting) + len(record) > self.limit:
            self.flush()
        self.waiting += record

    def flush(self):
        while self.waiting:
            self.wait([], [STDOUT])
            del self.waiting[: os.write(STDOUT, self.waiting[: self.limit])]

    def shorten(self):
        """Asks for a pipe that holds little, so that live audio does not grow old in it."""
        try:
            fcntl.fcntl(STDOUT, fcntl.F_SETPIPE_SZ, 4096)
        except (AttributeError, OSError):
            pass  # not a pipe, or Python before 3.10


def run(counter, pipe):
    """Passes on the input until it ends, is damaged, or a signal has cut it off."""
    short = False
    try:
        while data := pipe.read(MAX_RECORD - len(counter.buffer)):
            try:
                for record in counter.take(data):
                    if counter.live and not short:
                        pipe.shorten()
                        short = True
                    pipe.write(record)
            finally:
                pipe.flush()
        counter.finish()
    except Late:
        for record in counter.ends():
            pipe.write(record)
        pipe.flush()


def main():
    parser = argparse.ArgumentParser(description="Counts what passes through a pipe, on stderr.")
    parser.add_argument("--strict", action="store_true", help="a stream without an End is an error (3)")
    strict = parser.parse_args().strict
    if os.isatty(STDIN) or os.isatty(STDOUT):
        say("stats: records are neither read from a terminal nor written to one")
        return 2
    counter, pipe, code = Counter(), Pipe(), 0
    try:
        run(counter, pipe)
        if counter.open and pipe.deadline is None:
            say("stats: warning: the stream broke off without an End")
            code = 3 if strict else 0
    except Fault as fault:
        say(f"stats: {fault}")
        code = 3
    except (BrokenPipeError, Late):
        pass  # the reader went away, or took nothing more after a signal
    except OSError as error:
        say(f"stats: {error.strerror}")
        code = 1
    if counter.strays:
        say(f"stats: warning: {counter.strays} records belong to no stream")
    for line in counter.lines:
        say(json.dumps(line))
    return code


if __name__ == "__main__":
    sys.exit(main())
