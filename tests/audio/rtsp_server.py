"""A live RTSP server, GStreamer's: run by the system's Python, which has its bindings.

python3 rtsp_server.py PORT     rtsp://127.0.0.1:PORT/live: a tone of 1 kHz in Opus, for ever
python3 rtsp_server.py PORT FILM     likewise a film (.mkv, H.264 and MP2) from its beginning, which
                                     all see that ask for it meanwhile
"""

from __future__ import annotations

import sys

import gi  # type: ignore[import-not-found,unused-ignore]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found,unused-ignore] # noqa: E402

LAUNCH = (
    "( audiotestsrc is-live=true freq=1000 volume=0.5 ! audio/x-raw,rate=48000,channels=1 "
    "! opusenc ! rtpopuspay name=pay0 pt=96 )"
)

FILM = (
    "( filesrc location={} ! matroskademux name=film "
    "film. ! queue ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 "
    "film. ! queue ! mpegaudioparse ! rtpmpapay name=pay1 pt=14 )"
)


def main(port: str, film: str = "") -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(FILM.format(film) if film else LAUNCH)
    factory.set_shared(True)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit("the port is taken")
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
