#!/usr/bin/env python3
"""tests/rig/aiortc_peer.py hear|say HOST:PORT PT=CODEC FILE [KEY]: the RTP, RTCP and codecs of aiortc (and libsrtp, where
a KEY is given in hexadecimal) over a plain UDP socket, in place of ICE and DTLS. `hear` writes what it hears to FILE as
s16le, in mono, until SIGINT; `say` speaks the WAV in FILE. What it knows of the call goes to peer.json."""
import asyncio
import fractions
import json
import signal
import socket
import struct
import sys
import wave

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import (RTCRtcpParameters, RTCRtpCodecParameters, RTCRtpReceiveParameters,
                                     RTCRtpSendParameters)
from aiortc.rtcrtpreceiver import RemoteStreamTrack, RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import RtcpPacket, RtpPacket, is_rtcp
from aiortc.stats import RTCStatsReport

SHAPES = {"PCMU": (8000, 1), "PCMA": (8000, 1), "opus": (48000, 2)}


class Wire(asyncio.DatagramProtocol):
    """What aiortc asks of a transport: packets of both kinds go over one socket."""

    state = "connected"
    _stats_id = "wire"

    def __init__(self, to, key):
        self.to, self.user, self.reports = to, None, 0
        self.out, self.into = (sessions(key) if key else (None, None))

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        reports = is_rtcp(data)
        if self.into:
            data = self.into.unprotect_rtcp(data) if reports else self.into.unprotect(data)
        if reports:
            self.to = self.to or sender
            for packet in RtcpPacket.parse(data):
                self.reports += 1
                asyncio.ensure_future(self.user._handle_rtcp_packet(packet))
        elif isinstance(self.user, RTCRtpReceiver):
            self.to = self.to or sender
            packet = RtpPacket.parse(data)
            asyncio.ensure_future(self.user._handle_rtp_packet(packet, int(asyncio.get_event_loop().time() * 1e3)))

    async def _send_rtp(self, data):
        if self.out:
            data = self.out.protect_rtcp(data) if is_rtcp(data) else self.out.protect(data)
        if self.to:
            self.transport.sendto(data, self.to)

    def _register_rtp_receiver(self, receiver, parameters):
        pass

    _unregister_rtp_receiver = _unregister_rtp_sender = lambda self, user: None
    _register_rtp_sender = _register_rtp_receiver

    def _get_stats(self):
        return RTCStatsReport()


def sessions(key):
    from pylibsrtp import Policy, Session
    key = bytes.fromhex(key)
    return (Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND)),
            Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND)))


class Voice(MediaStreamTrack):
    """A WAV at its own pace."""

    kind = "audio"

    def __init__(self, file):
        super().__init__()
        self.wav, self.pts, self.began = wave.open(file), 0, None
        self.ended = asyncio.Event()

    async def recv(self):
        loop, rate = asyncio.get_event_loop(), self.wav.getframerate()
        self.began = self.began or loop.time()
        await asyncio.sleep(max(0.0, self.began + self.pts / rate - loop.time()))
        data = self.wav.readframes(rate // 50)
        if len(data) < rate // 50 * 2:
            self.ended.set()
            raise MediaStreamError
        frame = av.AudioFrame(format="s16", layout="mono", samples=rate // 50)
        frame.planes[0].update(data)
        frame.sample_rate, frame.pts, frame.time_base = rate, self.pts, fractions.Fraction(1, rate)
        self.pts += rate // 50
        return frame


def bound(host, port, hears):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if hears:
        sock.bind((host, port))
        if host.startswith("239."):
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(host) + bytes(4))
    return sock


async def hear(wire, codec, file):
    wire.user = receiver = RTCRtpReceiver("audio", wire)
    receiver._track = RemoteStreamTrack(kind="audio")
    receiver._set_rtcp_ssrc(77)
    await receiver.receive(RTCRtpReceiveParameters(codecs=[codec]))

    async def write():
        with open(file, "wb", buffering=0) as out:
            while True:
                frame = await receiver.track.recv()
                data = bytes(frame.planes[0])[:frame.samples * 2 * len(frame.layout.channels)]
                out.write(data if len(frame.layout.channels) == 1 else left(data))

    writer = asyncio.ensure_future(write())
    stop = asyncio.Event()
    asyncio.get_event_loop().add_signal_handler(signal.SIGINT, stop.set)
    await stop.wait()
    writer.cancel()
    return receiver


def left(data):
    samples = struct.unpack(f"<{len(data) // 2}h", data)
    return struct.pack(f"<{len(samples) // 2}h", *samples[::2])


async def say(wire, codec, file):
    voice = Voice(file)
    wire.user = sender = RTCRtpSender(voice, wire)
    await sender.send(RTCRtpSendParameters(codecs=[codec], rtcp=RTCRtcpParameters(cname="aiortc")))
    await voice.ended.wait()
    return sender


async def main(way, address, format, file, key=None):
    host, port = address.split(":")
    number, name = format.split("=")
    rate, channels = SHAPES[name]
    codec = RTCRtpCodecParameters(mimeType=f"audio/{name}", clockRate=rate, channels=channels, payloadType=int(number))
    wire = Wire(None if way == "hear" else (host, int(port)), key)
    await asyncio.get_event_loop().create_datagram_endpoint(
        lambda: wire, sock=bound(host, int(port), way == "hear"))
    user = await {"hear": hear, "say": say}[way](wire, codec, file)
    stats = [vars(entry) for entry in (await user.getStats()).values()]
    await user.stop()
    with open("peer.json", "w") as out:
        json.dump({"reports": wire.reports, "stats": stats}, out, default=str)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
