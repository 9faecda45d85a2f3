#!/usr/bin/env python3
"""A client of the Voix protocol, written after its document alone: a session, line by line, with a second person in it.

Usage: voix.py HOST PORT. Fails with the line that was not as it should be.
"""

import socket
import sys


class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=10)
        self.file = self.socket.makefile("r", encoding="utf-8", newline="\r\n")

    def says(self, line):
        self.socket.sendall((line + "\r\n").encode())

    def hears(self, *expected):
        for line in expected:
            got = self.file.readline()
            assert got.endswith("\r\n"), f"a line ends with CR LF: {got!r}"
            got = got[:-2]
            assert got == line, f"expected {line!r}, got {got!r}"

    def hears_ping(self):
        line = self.file.readline().strip()
        verb, number = line.split(": ")
        assert verb == "PING" and int(number) >= 0, line
        self.says(f"PONG: {number}")

    def hears_end(self):
        got = self.file.readline()
        assert got == "", f"the connection is closed, not {got!r}"


def main(host, port):
    john = Client(host, port)
    john.says('CONNECT: "John" "John Doe" 1.0.0')
    john.hears("ACCEPT: localhost")
    john.hears_ping()
    john.hears("JOINED: #lobby", "USERLIST #lobby: John")

    me = Client(host, port)
    me.says('CONNECT: "John" "Somebody Else" 1.0.0')
    me.hears("NICKNAMEINUSE: John is taken; try another")
    me.says('CONNECT: "Nickname" "Real Name" 1.0.0')
    me.hears("ACCEPT: localhost")
    me.hears_ping()
    me.hears("JOINED: #lobby", "USERLIST #lobby: John, Nickname")
    john.hears("USERJOIN #lobby: Nickname")

    me.says("MSG #Lobby: Hey all!")
    john.hears("MSG Nickname #lobby: Hey all!")
    john.says("MSG #Lobby: Hey Nickname!")
    me.hears("MSG John #lobby: Hey Nickname!")
    me.says("PRIVMSG John: Hey John!")
    john.hears("PRIVMSG Nickname: Hey John!")
    john.says("PRIVMSG Nickname: Hey there :)")
    me.hears("PRIVMSG John: Hey there :)")

    me.says("TALK John: Request")
    john.hears("TALK Nickname: Request")
    john.says("TALK Nickname: Accept")
    me.hears("TALK John: Accept")
    me.says("Talk John: End")
    john.hears("TALK Nickname: End")

    me.says("JOIN: #TurboRoom")
    me.hears("JOINED: #turboroom", "USERLIST #turboroom: Nickname")
    john.says("TALK Nickname: Request")
    me.hears("TALK John: Request")
    me.says("TALK John: Deny")
    john.hears("TALK Nickname: Deny")
    john.says("TALK Nickname: Request")
    me.hears("TALK John: Request")
    me.says("TALK John: Accept")
    john.hears("TALK Nickname: Accept")
    john.says("TALK Nickname: End")
    me.hears("TALK John: End")

    # The dialect of the report: keys, and raw audio from address to address.
    john.says("DIALECT: keys")
    john.hears("DIALECT: as you wish")
    me.says("TALK John: REQUEST")
    line = john.file.readline().strip()
    key = line.removeprefix("TALK Nickname ").removesuffix(": REQUEST")
    assert len(key) == 15 and key.isdigit(), line
    john.says(f"TALK {key}: ACCEPT")
    john.hears(f"TALK {key}: ACCEPTED")
    me.hears(f"TALK {key}: ACCEPTED")
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for end in ends:
        end.settimeout(10)
        end.sendto(f"TALKSESSION: {key}".encode(), (host, port + 1))
    answers = [end.recv(2048) for end in ends]
    assert answers[:2] == [b"TALKSESSION: ok"] * 2 and answers[2].startswith(b"SESSIONERROR: "), answers
    ends[0].sendto(b"raw audio", (host, port + 1))
    assert ends[1].recv(2048) == b"raw audio"
    me.says(f"TALK {key}: END")
    john.hears(f"TALK {key}: END")
    me.says("TALK 123456789012345: END")
    me.hears("TALK: BADSESSIONKEY")

    me.says("WHAT is this")
    me.hears("ERROR WHAT: unknown verb (HELP lists them)")
    me.says("DISCONNECT")
    me.hears_end()
    john.hears("USERLEAVE #lobby: Nickname")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
