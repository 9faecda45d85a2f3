#!/usr/bin/python3
"""A service of _rtp._udp, announced or looked for by python-zeroconf, on this network's loopback.

    zeroconf_peer.py announce NAME PORT SDP-FILE      until stdin ends
    zeroconf_peer.py find NAME                        prints port and description, then `gone` when it goes
"""
import socket
import sys
import threading

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

TYPE = "_rtp._udp.local."


def announce(network, name, port, path):
    text = open(path, newline="").read()
    pieces = [text[at : at + 200] for at in range(0, len(text), 200)]
    properties = {f"sdp{n}": piece for n, piece in enumerate(pieces)}
    info = ServiceInfo(
        TYPE, f"{name}.{TYPE}", addresses=[socket.inet_aton("127.0.0.1")], port=int(port), properties=properties,
        server="zeroconf-peer.local.",
    )
    network.register_service(info)
    sys.stdin.read()
    network.unregister_service(info)


class Finder(ServiceListener):
    def __init__(self, name):
        self.full, self.gone, self.found = f"{name}.{TYPE}", threading.Event(), False

    def add_service(self, network, kind, name):
        info = network.get_service_info(kind, name) if name == self.full else None
        if info and not self.found:
            self.found = True
            pieces = (info.properties.get(f"sdp{n}".encode()) for n in range(100))
            text = b"".join(piece for piece in pieces if piece)
            print(info.port, repr(text.decode()), flush=True)

    update_service = add_service

    def remove_service(self, network, kind, name):
        if name == self.full:
            print("gone", flush=True)
            self.gone.set()


network = Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
if sys.argv[1] == "announce":
    announce(network, *sys.argv[2:])
else:
    finder = Finder(sys.argv[2])
    ServiceBrowser(network, TYPE, finder)
    finder.gone.wait(30)
network.close()
