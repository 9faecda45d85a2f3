#!/usr/bin/env python3
"""Somebody who talks by Voix's lines and hears one stream, written after docs/room-protocol.md alone: mu-law both ways, by
datagrams from an address that is bound by a key.

    voix_talker.py PORT NAME ROOM SAID.ul HEARD.ul      says SAID at its own pace, writes what is heard meanwhile
"""
import random
import socket
import struct
import sys
import threading
import time

FRAME = 160

port, name, room, said, heard = int(sys.argv[1]), *sys.argv[2:]
lines = socket.create_connection(("127.0.0.1", port))
voice = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
voice.bind(("127.0.0.1", 0))
voice.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
told, news = [], threading.Condition()


def say(line):
    lines.sendall((line + "\r\n").encode())


def listen():
    for line in lines.makefile("r", encoding="utf-8", newline="\r\n"):
        line = line.rstrip("\r\n")
        if line.startswith("PING: "):
            say("PONG: " + line[6:])
        with news:
            told.append(line)
            news.notify_all()


def await_line(beginning):
    def found():
        return next((line for line in told if line.startswith(beginning)), None)

    with news:
        assert news.wait_for(found, timeout=15), f"no {beginning!r}: {told}"
        return found()


threading.Thread(target=listen, daemon=True).start()
say(f'CONNECT: "{name}" "Somebody" 1.0.0')
await_line("ACCEPT: ")
say(f"JOIN: #{room}")
await_line(f"JOINED: #{room}")
say(f"VOICE #{room}: udp mix=PCMU/8000")
_, _, carrier, address, key = await_line(f"VOICE #{room}: ").split()
assert carrier == "udp", carrier
host, _, media_port = address.rpartition(":")
server = (host, int(media_port))
voice.settimeout(0.2)
for _ in range(75):
    voice.sendto(f"TALKSESSION: {key}".encode(), server)
    try:
        if voice.recvfrom(2048)[0] == b"TALKSESSION: ok":
            break
    except socket.timeout:
        pass
else:
    raise AssertionError("the key is not answered")
ssrc = random.getrandbits(32)
say(f"STREAM {ssrc}: pt=0 format=PCMU/8000 channels=1 frame={FRAME}")
await_line(f"STREAMING {ssrc}")
say(f"MSG #{room}: hello from {name}")
audio, over, packets = open(said, "rb").read(), False, []


def hear():
    while not over:
        try:
            packet = voice.recvfrom(2048)[0]
        except socket.timeout:
            continue
        if len(packet) > 12 and packet[0] >> 6 == 2:
            skip = 12 + 4 * (packet[0] & 15)
            if packet[0] & 0x10:
                skip += 4 + 4 * struct.unpack(">H", packet[skip + 2 : skip + 4])[0]
            packets.append((struct.unpack(">HII", packet[2:12]), packet[skip:]))


ear = threading.Thread(target=hear)
ear.start()
began = time.monotonic()
for number, at in enumerate(range(0, len(audio), FRAME)):
    time.sleep(max(0, began + at / 8000 - time.monotonic()))
    header = struct.pack(">BBHII", 0x80, 0x80 * (at == 0), number & 0xFFFF, at, ssrc)
    voice.sendto(header + audio[at : at + FRAME], server)
over = True
ear.join()
say(f"STREAMEND {ssrc}: rtp={len(audio)} reason=complete")
say("DISCONNECT")
sources = {header[2] for header, _ in packets}
assert len(sources) <= 1, f"one stream, not {sources}"
open(heard, "wb").write(b"".join(payload for _, payload in packets))
