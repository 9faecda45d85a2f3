"""Both sides of the media-stream protocol over WebSocket, with the standard library alone, after RFC 6455.

    mediastream.py phone PORT SAID HEARD REPORT [PLAN]     calls; PLAN is JSON, see `phone`
    mediastream.py bot PORT SAID HEARD REPORT [CERT KEY]   answers one call, with TLS where a certificate is given
    mediastream.py strangers PORT                          everything that nobody should send

SAID and HEARD are files of mu-law bytes, REPORT is JSON.
"""
import base64
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import time

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PIECE = 160
LIMIT = 25


class Web:
    """A WebSocket over a connected socket."""

    def __init__(self, sock, is_client):
        self.sock, self.is_client, self.buffer = sock, is_client, b""
        self.pongs = []

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the connection has ended")
        self.buffer += data

    def take(self, length):
        while len(self.buffer) < length:
            self.more()
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("ascii").split("\r\n")
        fields = {line.split(":", 1)[0].strip().lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
        return lines[0], fields

    def frame(self, opcode, payload, final=True, masked=None, reserved=0):
        masked = self.is_client if masked is None else masked
        first = (0x80 if final else 0) | reserved << 4 | opcode
        length, mask_bit = len(payload), 0x80 if masked else 0
        if length < 126:
            head = struct.pack("!BB", first, mask_bit | length)
        elif length < 65536:
            head = struct.pack("!BBH", first, mask_bit | 126, length)
        else:
            head = struct.pack("!BBQ", first, mask_bit | 127, length)
        if masked:
            key = os.urandom(4)
            head += key
            payload = bytes(byte ^ key[n % 4] for n, byte in enumerate(payload))
        return head + payload

    def send(self, opcode, payload, **how):
        self.sock.sendall(self.frame(opcode, payload, **how))

    def say(self, message):
        self.send(TEXT, json.dumps(message).encode())

    def read_frame(self):
        first, second = self.take(2)
        if first & 0x70:
            raise ValueError("reserved bits")
        if bool(second & 0x80) == self.is_client:
            raise ValueError("only a client masks, and a client always does")
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.take(8))
        key = self.take(4) if second & 0x80 else b"\0\0\0\0"
        payload = bytes(byte ^ key[n % 4] for n, byte in enumerate(self.take(length)))
        return first & 0x80, first & 0x0F, payload

    def hear(self):
        """The next message; none when the peer closes."""
        whole = b""
        while True:
            final, opcode, payload = self.read_frame()
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == PONG:
                self.pongs.append(payload.decode())
            elif opcode == CLOSE:
                return None
            else:
                whole += payload
                if final:
                    return json.loads(whole)


def connect(port, extra=""):
    until = time.time() + LIMIT
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            if time.time() > until:
                raise
            time.sleep(0.02)
    sock.settimeout(LIMIT)
    web, key = Web(sock, True), base64.b64encode(os.urandom(16))
    sock.sendall(
        b"GET /media HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n" + extra.encode() + b"\r\n"
    )
    status, fields = web.head()
    if " 101 " not in status + " ":
        raise PermissionError(status)
    expected = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    assert fields["sec-websocket-accept"] == expected and fields["upgrade"].lower() == "websocket", fields
    return web


def media(payload, sid, number=None, ms=None):
    body = {"payload": base64.b64encode(payload).decode()}
    if ms is not None:
        body.update(track="inbound", chunk=str(number), timestamp=str(ms))
    return {"event": "media", "streamSid": sid, "media": body}


def start(sid):
    about = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    body = {"accountSid": "AC1", "streamSid": sid, "callSid": "CA" + sid, "tracks": ["inbound"], "mediaFormat": about}
    return {"event": "start", "sequenceNumber": "1", "streamSid": sid, "start": body}


def phone(port, said, heard, report, plan="{}"):
    """PLAN: `lost` pieces are not sent, the pieces from `late` on come `pause` ms later; `fragments` cuts a message in
    three with a ping within; `dtmf` is pressed at the end; it hears `expect` bytes before it hangs up."""
    plan = json.loads(plan)
    web, audio, sid = connect(port), open(said, "rb").read(), plan.get("sid", "MZphone")
    web.say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    web.say(start(sid))
    for number, at in enumerate(range(0, len(audio), PIECE)):
        if number in plan.get("lost", []):
            continue
        ms = at // 8 + (plan.get("pause", 0) if number >= plan.get("late", 1 << 30) else 0)
        message = media(audio[at:at + PIECE], sid, number + 1, ms)
        if number == 1 and plan.get("fragments"):
            text = json.dumps(message).encode()
            web.send(TEXT, text[:10], final=False)
            web.send(PING, b"there?")
            web.send(0, text[10:50], final=False)
            web.send(0, text[50:])
        else:
            web.say(message)
    if "dtmf" in plan:
        web.say({"event": "dtmf", "streamSid": sid, "dtmf": {"track": "inbound_track", "digit": plan["dtmf"]}})
    got, told = b"", []
    while len(got) < plan.get("expect", 0):
        message = web.hear()
        if message is None:
            break
        assert message["streamSid"] == sid, message
        if message["event"] == "media":
            got += base64.b64decode(message["media"]["payload"], validate=True)
        else:
            told.append(message["event"])
        if message["event"] == "mark":
            web.say({"event": "mark", "streamSid": sid, "mark": message["mark"]})
    web.say({"event": "stop", "streamSid": sid, "stop": {"accountSid": "AC1", "callSid": "CA" + sid}})
    closed = web.hear() is None
    web.send(CLOSE, struct.pack("!H", 1000))
    open(heard, "wb").write(got)
    json.dump({"pongs": web.pongs, "told": told, "closed": closed}, open(report, "w"))


def accept(port, ready, cert=None, key=None):
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(LIMIT)
    open(ready, "w").write("listening")
    sock, _ = listener.accept()
    sock.settimeout(LIMIT)
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        sock = context.wrap_socket(sock, server_side=True)
    web = Web(sock, False)
    request, fields = web.head()
    assert request.startswith("GET /media HTTP/1.1"), request
    assert fields["upgrade"].lower() == "websocket" and fields["sec-websocket-version"] == "13", fields
    assert len(base64.b64decode(fields["sec-websocket-key"])) == 16 and "origin" not in fields, fields
    answer = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + answer + b"\r\n\r\n"
    )
    return web


def bot(port, said, heard, report, cert=None, key=None):
    """Says all of SAID at once and asks when it was heard; then says a minute of noise, and takes it back when it hears
    that the first of it was played."""
    web, audio = accept(port, report + ".ready", cert, key), open(said, "rb").read()
    assert web.hear() == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    about = web.hear()
    assert about["event"] == "start" and about["sequenceNumber"] == "1", about
    sid, got, times, marks, keys, sequence = about["streamSid"], b"", [], [], [], [1]
    for at in range(0, len(audio), 1000):
        web.say(media(audio[at:at + 1000], sid))
    web.say({"event": "mark", "streamSid": sid, "mark": {"name": "all"}})
    web.say(media(b"\x55" * PIECE, sid))
    web.say({"event": "mark", "streamSid": sid, "mark": {"name": "begun"}})
    for _ in range(60):
        web.say(media(b"\x55" * 8000, sid))
    web.say({"event": "mark", "streamSid": sid, "mark": {"name": "never"}})
    web.send(PING, b"there?")
    while True:
        message = web.hear()
        if message is None or message["event"] == "stop":
            break
        sequence.append(int(message["sequenceNumber"]))
        if message["event"] == "media":
            got += base64.b64decode(message["media"]["payload"], validate=True)
            times.append((int(message["media"]["chunk"]), int(message["media"]["timestamp"])))
        elif message["event"] == "mark":
            marks.append(message["mark"]["name"])
            if marks[-1] == "begun":
                web.say({"event": "clear", "streamSid": sid})
        elif message["event"] == "dtmf":
            keys.append(message["dtmf"]["digit"])
    web.send(CLOSE, struct.pack("!H", 1000))
    open(heard, "wb").write(got)
    about = about["start"]
    json.dump(
        {"start": about, "times": times, "marks": marks, "keys": keys, "sequence": sequence, "pongs": web.pongs},
        open(report, "w"),
    )
    try:
        while web.hear() is not None:
            pass
    except (EOFError, OSError):
        pass


def strangers(port):
    """Everything that nobody should send; each is to end its own connection at most."""
    refused, held = [], []
    for extra in ("Origin: https://evil.example\r\n", "Origin: null\r\n"):
        try:
            connect(port, extra)
        except PermissionError as error:
            refused.append(str(error))
    for raw in (b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.0\r\n\r\n", b"POST /media HTTP/1.1\r\n\r\n",
                b"GET /media HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 5000, b"GET /" + b"a" * 200_000,
                b"GET /media HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(500)) + b"\r\n"):
        sock = socket.create_connection(("127.0.0.1", port))
        try:
            sock.sendall(raw)
        except OSError:
            pass
        held.append(sock)
    deep = b'{"event":' + b"[" * 50_000
    texts = (b"", b"{", b"[]", b"null", deep, b'{"event":"media"}', b'{"event":"media","media":{"payload":"AA=A"}}',
             b'{"event":"start","start":{}}', b'{"event":"mark","mark":{"name":""}}', b'{"event":"stop"}',
             b'{"event":"media","media":{"timestamp":"99999999999999999999","payload":"fw=="}}')
    for begun in (False, True):
        web = connect(port)
        if begun:
            web.say(start("MZ" + "x" * 200))
        for text in texts:
            try:
                web.send(TEXT, text)
                web.send(BINARY, text)
            except OSError:
                pass
        held.append(web.sock)
    frames = (
        lambda web: web.frame(TEXT, b'{"event":"connected"}', masked=False),
        lambda web: web.frame(TEXT, b"{}", reserved=4),
        lambda web: web.frame(3, b"{}"),
        lambda web: web.frame(PING, b"x" * 126),
        lambda web: web.frame(PING, b"x", final=False),
        lambda web: web.frame(0, b"nothing to continue"),
        lambda web: web.frame(TEXT, b"\xff\xfe"),
        lambda web: struct.pack("!BBQ", 0x81, 0xFF, 1 << 62) + b"\0\0\0\0",
        lambda web: web.frame(TEXT, b"a" * 500_000),
        lambda web: web.frame(TEXT, b"a" * 1000, final=False) + web.frame(0, b"a" * 300_000, final=False) * 3,
        lambda web: web.frame(PING, b"x") * 5000,
        lambda web: web.frame(CLOSE, b"\x01"),
        lambda web: web.frame(CLOSE, struct.pack("!H", 1000)) + web.frame(TEXT, b"{}"),
    )
    for make in frames:
        web = connect(port)
        try:
            web.sock.sendall(make(web))
        except OSError:
            pass
        held.append(web.sock)
    # It has asked for another format, and one that wants no audio at all never reads.
    web = connect(port)
    message = start("MZother")
    message["start"]["mediaFormat"]["encoding"] = "audio/l16"
    web.say(message)
    told = web.read_frame()
    print(json.dumps({"refused": refused, "format": struct.unpack("!H", told[2][:2])[0]}))
    for sock in held:
        sock.close()


if __name__ == "__main__":
    role, port, rest = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    {"phone": phone, "bot": bot, "strangers": strangers}[role](port, *rest)
