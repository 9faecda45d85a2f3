#!/usr/bin/env python3
"""tests/rig/payloads.py FILE.pcap: writes the payloads of the RTP packets in a capture (Ethernet, IPv4, UDP) to stdout,
in the order of the file."""
import struct
import sys

capture = open(sys.argv[1], "rb").read()
place = 24
while place < len(capture):
    length = struct.unpack_from("<I", capture, place + 8)[0]
    packet = capture[place + 16:place + 16 + length]
    ip = packet[14:]
    udp = ip[(ip[0] & 15) * 4:]
    sys.stdout.buffer.write(udp[8 + 12:struct.unpack_from(">H", udp, 4)[0]])
    place += 16 + length
