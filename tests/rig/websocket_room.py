#!/usr/bin/env python3
"""A client of rooms by WebSocket, written after RFC 6455 and the protocol's document alone (standard library only).

Usage: websocket_room.py HOST PORT [tls]. Two people hold a session of Voix and hear each other's packets. Fails with what
was not as it should be.
"""

import base64
import hashlib
import os
import socket
import ssl
import struct
import sys

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocket:
    def __init__(self, host, port, tls, more=""):
        self.socket = socket.create_connection((host, port), timeout=10)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self.file = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        request = f"GET /rooms HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
        # In two pieces, as a network may cut it.
        self.socket.sendall(request[:7].encode())
        self.socket.sendall(request[7:].encode())
        self.status = int(self.file.readline().split()[1])
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(self.file.readline, b"\r\n"))
        if self.status == 101:
            guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
            assert headers["sec-websocket-accept"] == accept.lower(), headers
            assert headers["upgrade"] == "websocket" and headers["connection"] == "upgrade", headers

    def frame(self, kind, payload, last=True):
        head = bytes([kind | (0x80 if last else 0)])
        if len(payload) < 126:
            head += bytes([0x80 | len(payload)])
        elif len(payload) < 65536:
            head += struct.pack("!BH", 0x80 | 126, len(payload))
        else:
            head += struct.pack("!BQ", 0x80 | 127, len(payload))
        mask = os.urandom(4)
        return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    def sends(self, kind, payload):
        self.socket.sendall(self.frame(kind, payload))

    def gets(self):
        """The next frame: (kind, payload)."""
        head = self.file.read(2)
        assert len(head) == 2, "the connection was closed without a goodbye"
        assert head[0] & 0x80 and not head[1] & 0x80, f"whole and not masked: {head!r}"
        length = head[1]
        if length == 126:
            (length,) = struct.unpack("!H", self.file.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.file.read(8))
        return head[0] & 15, self.file.read(length)

    def says(self, line):
        self.sends(TEXT, line.encode())

    def hears(self, *expected):
        for line in expected:
            got = self.gets()
            assert got == (TEXT, line.encode()), f"expected {line!r}, got {got!r}"

    def hears_soon(self, beginning):
        """Skips what is said before a line that begins so."""
        while True:
            kind, payload = self.gets()
            assert kind == TEXT, (kind, payload)
            if payload.decode().startswith(beginning):
                return payload.decode()

    def hears_ping(self):
        kind, payload = self.gets()
        verb, number = payload.decode().split(": ")
        assert kind == TEXT and verb == "PING", payload
        self.says(f"PONG: {number}")

    def hears_goodbye(self, code):
        while True:
            kind, payload = self.gets()
            if kind == CLOSE:
                assert struct.unpack("!H", payload[:2]) == (code,), payload
                break
        assert self.file.read() == b"", "nothing after the goodbye"


def rtp(ssrc, sequence):
    return struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, ssrc) + bytes([sequence % 256]) * 160


def framed(packet):
    return b"$\0" + struct.pack("!H", len(packet)) + packet


def session(john, me):
    john.says('CONNECT: "John" "John Doe" 1.0.0')
    john.hears("ACCEPT: localhost")
    john.hears_ping()
    john.hears("JOINED: #lobby", "USERLIST #lobby: John")
    # Two lines in one message, with the ends that lines have elsewhere.
    me.says('CONNECT: "Me" "Myself" 1.0.0\r\nLIST\r\n')
    me.hears("ACCEPT: localhost")
    me.hears_ping()
    me.hears("JOINED: #lobby", "USERLIST #lobby: John, Me", "ROOM #lobby: users=2 voice=0 open", "LIST: 1")
    john.hears("USERJOIN #lobby: Me")
    me.says("MSG #lobby: Grüße")
    john.hears("MSG Me #lobby: Grüße")
    # A message in three frames, and a question in between.
    parts = [john.frame(TEXT, b"PRIVMSG ", last=False), john.frame(PING, b"there?"), john.frame(0, b"Me: ", last=False)]
    john.socket.sendall(b"".join(parts))
    assert john.gets() == (PONG, b"there?")
    john.socket.sendall(john.frame(0, b"hello"))
    me.hears("PRIVMSG John: hello")
    me.says("WHAT is this")
    me.hears("ERROR WHAT: unknown verb (HELP lists them)")


def voice(john, me):
    john.says("VOICE #lobby: tcp")
    john.hears_soon("VOICE #lobby: tcp")
    me.says("VOICE #lobby: tcp\nSTREAM 7: pt=0")
    me.hears_soon("STREAMING 7: 7")
    john.hears_soon("STREAM Me 7: pt=0")
    packets = [rtp(7, sequence) for sequence in range(65530, 65530 + 40) for sequence in [sequence % 65536]]
    me.sends(BINARY, framed(packets[0]))
    # Several in one message.
    me.sends(BINARY, b"".join(map(framed, packets[1:])))
    heard = []
    while len(heard) < len(packets):
        kind, payload = john.gets()
        if kind == BINARY:
            heard.append(payload)
    assert heard == [framed(packet) for packet in packets], "every packet as it was"
    me.says("VOICE: off")
    me.hears_soon("VOICE: off")


def main(host, port, tls):
    stranger = WebSocket(host, port, tls, f"Origin: http://{host}:{port}\r\n")
    assert stranger.status == 403, "a page that nobody let in"
    john = WebSocket(host, port, tls, "Origin: https://talk.example\r\nSec-WebSocket-Protocol: voix\r\n")
    me = WebSocket(host, port, tls)
    assert (john.status, me.status) == (101, 101)
    session(john, me)
    voice(john, me)
    me.says("DISCONNECT")
    me.hears_goodbye(1000)
    john.hears_soon("USERLEAVE #lobby: Me")
    john.sends(CLOSE, struct.pack("!H", 1000))
    john.hears_goodbye(1000)
    # What is too long is refused before it is there.
    long = WebSocket(host, port, tls)
    long.socket.sendall(bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 40) + bytes(4))
    long.hears_goodbye(1009)
    # Lines within a request that a page may send to anybody are not heard.
    if not tls:
        page = socket.create_connection((host, port), timeout=10)
        body = 'CONNECT: "Eve" "x" 1.0.0\r\nMSG #lobby: spam\r\n'
        page.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = b"".join(iter(lambda: page.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 405 ") and b"ACCEPT" not in answer, answer


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["tls"])
