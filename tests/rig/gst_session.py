#!/usr/bin/python3
"""tests/rig/gst_session.py GROUP PORT BACK FILE: GStreamer's RTP session hears PCMU and its reports in GROUP, and reports
to 127.0.0.1:BACK every 0.3 s as SSRC 4711. At SIGINT its own statistics of the source go to FILE as JSON. Debian's
Python has the bindings."""
import json
import signal
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

Gst.init(None)
group, port, back, file = sys.argv[1:]
pipeline = Gst.parse_launch(
    "rtpsession name=session rtp-profile=avpf rtcp-min-interval=300000000 bandwidth=1000000 "
    f"udpsrc address={group} port={port} "
    "caps=application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0 ! session.recv_rtp_sink "
    "session.recv_rtp_src ! fakesink "
    f"udpsrc address={group} port={int(port) + 1} caps=application/x-rtcp ! session.recv_rtcp_sink "
    f"session.send_rtcp_src ! udpsink host=127.0.0.1 port={back} sync=false async=false")
session = pipeline.get_by_name("session").get_property("internal-session")
session.set_property("internal-ssrc", 4711)
pipeline.set_state(Gst.State.PLAYING)
loop = GLib.MainLoop()
GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, loop.quit)
loop.run()

FIGURES = ("packets-received", "packets-lost", "jitter")
sources = [source.get_property("stats") for source in session.get_property("sources")]
told = [{name: source.get_value(name) for name in FIGURES} for source in sources if source.get_value("is-sender")]
with open(file, "w") as out:
    json.dump(told, out)
