#!/usr/bin/env python3
"""A client of the Peer-to-Peer Communication App, as little of it as a test needs, written from what is known of its
protocol: JSON objects between CR LF over TCP, audio as base64 of 16-bit samples, one channel, 1024 at a time.

    p2p_app.py PORT NAME ROOM SAID.raw HEARD.raw      says SAID at its own pace, writes what is heard meanwhile

Prints what it is told besides voice, one object a line.
"""
import base64
import json
import socket
import sys
import threading
import time

CHUNK = 1024


class App:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.told, self.heard, self.lock = [], b"", threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        held = b""
        while more := self.socket.recv(65536):
            *lines, held = (held + more).split(b"\r\n")
            for line in filter(None, lines):
                answer = json.loads(line)
                with self.lock:
                    if answer["label"] == "voice":
                        self.heard += base64.b64decode(answer["audio_data"])
                    else:
                        print(json.dumps(answer), flush=True)
                        self.told.append(answer)
                    self.lock.notify_all()

    def ask(self, action, **more):
        message = json.dumps({"action": action, **more})
        self.socket.sendall(f"\r\n{message}\r\n".encode())

    def await_answer(self, label, **wanted):
        def found():
            fits = lambda answer: answer["label"] == label and all(answer.get(k) == v for k, v in wanted.items())
            return next(filter(fits, self.told), None)

        with self.lock:
            assert self.lock.wait_for(found, timeout=10), f"no {label} {wanted}: {self.told}"
            answer = found()
            self.told.remove(answer)
            return answer


port, name, room, said, heard = int(sys.argv[1]), *sys.argv[2:]
app = App(port)
app.ask("request_sample_rate")
rate = app.await_answer("response_sample_rate")["sample_rate"]
app.ask("request_user_name", user_name="User000001", room=None)
app.await_answer("response_user_name", status="conflict")
app.ask("request_user_name", user_name=name, room=None)
app.await_answer("response_user_name", status="ok", user_name=name)
app.ask("join", room="nowhere", old_room=None)
app.await_answer("join_room", status="room not found", room="nowhere")
app.ask("create", room="Room A")
app.await_answer("created_room", status="ok", room="Room A")
app.ask("create", room="Room A")
app.await_answer("created_room", status="room already exists", room="Room A")
app.ask("list")
assert app.await_answer("list_rooms")["rooms"].get("Room A") is False
app.ask("join", room=room, old_room=None)
app.await_answer("join_room", status="ok", room=room)
app.ask("join", room=room, old_room=room)
app.await_answer("join_room", status="room already joined")
assert name in app.await_answer("update_room_users", room=room)["users"]
app.ask("record_start", room_name=room)
app.await_answer("record_start", room_name=room)
samples, began = open(said, "rb").read(), time.monotonic()
for at in range(0, len(samples), 2 * CHUNK):
    time.sleep(max(0, began + at / 2 / rate - time.monotonic()))
    app.ask("voice", room_name=room, audio_data=base64.b64encode(samples[at : at + 2 * CHUNK]).decode())
app.ask("record_end", room_name=room)
app.await_answer("record_end", room_name=room)
with app.lock:
    open(heard, "wb").write(app.heard)
app.ask("quit_room", room=room)
app.ask("exit", room_name=None)
