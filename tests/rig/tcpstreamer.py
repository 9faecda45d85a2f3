#!/usr/bin/env python3
"""The TCP Audio Streamer and Player, as little of it as a test needs, written from what is known of its protocol:

frames of a 32-bit little-endian length and that many bytes, at most 10000; the server's first frame to each client is
the text SamplesPerSecond:RATE; then RTP of mu-law, 20 ms a packet, with V 2, P 0, X 0, CC 0, M 0, PT 0, SSRC 0,
sequence numbers from 0 and a timestamp that counts bytes.

    tcpstreamer.py (server|client) (say|hear|both) PORT RATE FILE

A server waits for one client. FILE is raw mu-law: said at its own pace, or written as it is heard. With `both` it is said,
and what is heard meanwhile is written to FILE.heard.
"""
import socket
import struct
import sys
import threading
import time


def send(connection, frame):
    connection.sendall(struct.pack("<i", len(frame)) + frame)


def frames(connection):
    held = b""
    while True:
        while len(held) >= 4:
            (length,) = struct.unpack("<i", held[:4])
            assert 0 <= length <= 10000, f"a frame of {length} bytes"
            if len(held) < 4 + length:
                break
            yield held[4 : 4 + length]
            held = held[4 + length :]
        more = connection.recv(65536)
        if not more:
            assert not held, "the end lies inside a frame"
            return
        held += more


def say(connection, rate, path):
    audio = open(path, "rb").read()
    size, sequence, began = rate // 50, 0, time.monotonic()
    for at in range(0, len(audio), size):
        time.sleep(max(0, began + at / rate - time.monotonic()))
        payload = audio[at : at + size]
        send(connection, struct.pack(">BBHII", 0x80, 0, sequence & 0xFFFF, at, 0) + payload)
        sequence += 1


def hear(incoming, path):
    heard, sequence, timestamp = b"", 0, 0
    for frame in incoming:
        first, second, number, time_, ssrc = struct.unpack(">BBHII", frame[:12])
        expected = (0x80, 0, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 0)
        assert (first, second, number, time_, ssrc) == expected, f"{frame[:12].hex()}, not {expected}"
        heard += frame[12:]
        sequence += 1
        timestamp += len(frame) - 12
    open(path, "wb").write(heard)


role, act, port, rate, path = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
if role == "server":
    listener = socket.create_server(("127.0.0.1", port))
    print("listening", flush=True)
    peer, _ = listener.accept()
    send(peer, f"SamplesPerSecond:{rate}".encode("cp1252"))
    incoming = frames(peer)
else:
    peer = socket.create_connection(("127.0.0.1", port))
    incoming = frames(peer)
    greeting = next(incoming).decode("cp1252")
    assert greeting == f"SamplesPerSecond:{rate}", greeting
if act == "both":
    ear = threading.Thread(target=hear, args=(incoming, path + ".heard"))
    ear.start()
    say(peer, rate, path)
    peer.shutdown(socket.SHUT_WR)
    ear.join()
elif act == "say":
    say(peer, rate, path)
else:
    hear(incoming, path)
peer.close()
