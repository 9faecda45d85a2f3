#!/usr/bin/python3
"""tests/rig/gst_parity.py PORT FILE: PCMU with parity packets (RFC 5109, payload type 127) through GStreamer's
rtpulpfecdec, to FILE as s16le. Its decoder wants the storage of another element as an object, which gst-launch cannot
hand over. Debian's Python has the bindings."""
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

CAPS = "application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0"

Gst.init(None)
port, file = sys.argv[1:]
pipeline = Gst.parse_launch(f'udpsrc port={port} caps="{CAPS}" ! rtpstorage name=storage size-time=2000000000 '
                            "! rtpssrcdemux name=demux")
decoder = Gst.parse_bin_from_description(
    "rtpjitterbuffer do-lost=true latency=800 ! rtpulpfecdec name=parity pt=127 ! rtppcmudepay ! mulawdec "
    f"! filesink location={file} buffer-mode=unbuffered", True)
pipeline.add(decoder)
storage = pipeline.get_by_name("storage").get_property("internal-storage")
decoder.get_by_name("parity").set_property("storage", storage)


def heard(_demux, _ssrc, pad):
    pad.link(decoder.get_static_pad("sink"))
    decoder.sync_state_with_parent()


pipeline.get_by_name("demux").connect("new-ssrc-pad", heard)
pipeline.set_state(Gst.State.PLAYING)
GLib.MainLoop().run()
