"""Cameras that want to be asked in their own way, and those whose clocks are no clocks."""

from __future__ import annotations

import logging
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from audio.cameras import PACKET, RATE, Camera, serving, ticks
from audio.heard import Heard
from ports import free_port
from timing import within

from pe_stream.audio import rtsp
from pe_stream.audio.camera_pictures import CameraPictures
from pe_stream.audio.network import NetworkStream
from pe_stream.audio.rtsp import FinalError, RtspWay, RtspWays, UnsupportedTransportError
from pe_stream.config import PictureSettings
from pe_stream.errors import RefusedError, UnavailableError

pytestmark = pytest.mark.realtime

AUDIO_TCP, ALL_TCP = RtspWay("tcp", "audio"), RtspWay("tcp", "all")
AUDIO_UDP, ALL_UDP = RtspWay("udp", "audio"), RtspWay("udp", "all")


def listen(
    url: str, seconds: float, ways: RtspWays | None = None, timeout_s: float = 20.0
) -> Heard:
    """The first so many seconds of sound of one connection.

    timeout_s: not stretched by the machine's load; short only where a camera says nothing.
    """
    stream = NetworkStream(url, ways=ways or RtspWays(), timeout_s=timeout_s)
    heard = Heard()
    for chunk in stream:
        assert chunk.captured_s <= time.monotonic()
        heard.chunks.append(chunk)
        if sum(len(each.samples) for each in heard.chunks) >= seconds * 48_000:
            heard.describe = stream.describe
            stream.close()
    return heard


def test_a_camera_that_needs_its_picture_is_asked_for_it_and_that_is_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    ways = RtspWays()
    with serving(Camera(ticks(5), needs_picture=True)) as camera:
        heard = listen(camera.url(), 1.0, ways, timeout_s=within(1.5))
        assert heard.describe == f"{camera.url()} (the whole stream over TCP)"
        assert "audio alone over TCP: no answer within the time limit; trying anoth" in caplog.text
        camera.asked.clear()
        began_s = time.monotonic()
        again = listen(camera.url(), 1.0, ways)
    assert time.monotonic() - began_s < within(4.0)
    assert again.describe == heard.describe
    assert sum(each.startswith("PLAY") for each in camera.asked) == 1
    assert any("picture" in each for each in camera.asked)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("SETUP", "400 Bad Request"),
        ("SETUP", "459 Aggregate operation not allowed"),
        ("PLAY", "455 Method Not Valid in This State"),
        ("PLAY", "500 Internal Server Error"),
    ],
)
def test_a_camera_that_refuses_its_sound_alone_is_asked_for_all(request_: str, code: str) -> None:
    with serving(Camera(ticks(5), refuses_alone=(request_, code))) as camera:
        assert listen(camera.url(), 0.5).describe == f"{camera.url()} (the whole stream over TCP)"


def test_a_camera_that_refuses_every_way_is_left_alone_for_a_while() -> None:
    said = r"audio alone over TCP: .*; the whole stream over UDP: "
    with (
        serving(Camera(ticks(5), refuses_alone=("DESCRIBE", "400 Bad Request"))) as camera,
        pytest.raises(RefusedError, match=said),
    ):
        listen(camera.url(), 0.5)


def test_a_camera_that_refuses_tcp_is_heard_over_udp() -> None:
    with serving(Camera(ticks(5), udp_only=True)) as camera:
        heard = listen(camera.url(), 2.0)
    assert heard.describe.endswith("(audio alone over UDP)")
    assert heard.segments == 1
    assert not any("picture" in each for each in camera.asked)


def test_a_camera_that_hangs_up_after_a_burst_is_asked_for_all() -> None:
    ways = RtspWays()
    with serving(Camera(ticks(5), burst_s=1.0)) as camera:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="the stream ended"):
                listen(camera.url(), 5.0, ways)
        heard = listen(camera.url(), 2.0, ways)
    assert heard.describe.endswith("(the whole stream over TCP)")


@pytest.mark.parametrize(
    ("transport", "streams", "way"),
    [("udp", "audio", AUDIO_UDP), ("tcp", "all", ALL_TCP), ("udp", "all", ALL_UDP)],
)
def test_what_is_set_is_what_is_asked_for(
    transport: rtsp.Transport, streams: rtsp.Streams, way: RtspWay
) -> None:
    with serving(Camera(ticks(5))) as camera:
        heard = listen(camera.url(), 1.0, RtspWays(transport, streams))
    assert heard.describe.endswith(f"({way})")


def test_a_camera_that_refuses_what_is_set_says_so() -> None:
    with (
        serving(Camera(ticks(5), udp_only=True)) as camera,
        pytest.raises(UnavailableError, match=r"/live: Protocol not supported$"),
    ):
        listen(camera.url(), 1.0, RtspWays("tcp", "audio"))


@pytest.mark.parametrize("login", ["admin:pa#ss@w/rd%1@", "admin:pa%23ss%40w%2Frd%251@"])
def test_a_password_may_be_given_as_it_is(login: str) -> None:
    with serving(Camera(ticks(5), login=("admin", "pa#ss@w/rd%1"))) as camera:
        heard = listen(camera.url(login), 1.0)
    assert heard.segments == 1
    assert "pa" not in heard.describe


def test_a_wrong_password_is_tried_once() -> None:
    with serving(Camera(ticks(5), login=("admin", "right"))) as camera:
        with pytest.raises(RefusedError, match="401 Unauthorized"):
            listen(camera.url("admin:wrong@"), 1.0)
        assert sum(each.startswith("DESCRIBE") for each in camera.asked) == 2  # the first asks how


def test_a_camera_without_sound_is_asked_once_and_says_so() -> None:
    with serving(Camera(ticks(5), sound=False)) as camera:
        with pytest.raises(UnavailableError, match=r"/live: it has no audio track$"):
            listen(camera.url(), 1.0)
        assert sum(each.startswith("DESCRIBE") for each in camera.asked) == 1


@pytest.mark.parametrize("login", ["", "me:12@"])
def test_what_may_be_a_password_in_a_path_is_told_of(login: str) -> None:
    with pytest.raises(FinalError, match=r"^rtsp://\*+@cam/live: .*percent-encode"):
        listen(f"rtsp://{login}127.0.0.1:{free_port()}/3@cam/live", 1.0)


def test_where_nobody_answers_no_other_way_is_tried() -> None:
    began_s = time.monotonic()
    with pytest.raises(UnavailableError, match=r":1/live: Connection refused$"):
        listen("rtsp://127.0.0.1:1/live", 1.0)
    assert time.monotonic() - began_s < within(1.0)


def test_the_track_to_talk_to_a_camera_is_not_what_is_heard() -> None:
    with serving(Camera(ticks(5), backchannel=True)) as camera:
        assert len(listen(camera.url(), 2.5).ticks_s) >= 2
        stream = NetworkStream(camera.url(), track=1, timeout_s=20.0)
        assert next(stream).anchor_ns is not None
        stream.close()
        with pytest.raises(UnavailableError, match="no audio track 2; it has 2, counted from 0"):
            next(NetworkStream(camera.url(), track=2, timeout_s=20.0))


def test_a_camera_with_a_certificate_of_its_own_is_heard(tmp_path: Path) -> None:
    pem = tmp_path / "camera.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=camera", "-keyout", str(pem), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*made, *subject], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "cert.pem").read_text())
    with serving(Camera(ticks(5), pem=pem)) as camera:
        heard = listen(camera.url(), 1.0, RtspWays(secure=True))
    assert heard.describe == f"{camera.url()} (audio alone over TCP)"


_CHANCE = random.Random(3)


@pytest.mark.parametrize(
    "stamp",
    [
        lambda number: number * PACKET,
        lambda number: number * PACKET + round(_CHANCE.uniform(-0.3, 0.3) * RATE),
        lambda _: 0,
        lambda number: number % 75 * PACKET,
        lambda number: round(number * PACKET * 1.05),
        lambda number: number // 16 * 16 * PACKET,
        lambda number: number * PACKET + 8 * RATE * (number >= 75),
    ],
    ids=["good", "jitter 0.3 s", "all zero", "back again", "drift", "batches of 320 ms", "a jump"],
)
def test_sound_that_arrives_steadily_is_one_stretch(stamp: Callable[[int], int]) -> None:
    with serving(Camera(ticks(10), stamp=stamp, first=65_500)) as camera:
        heard = listen(camera.url(), 3.2)
    assert heard.segments == 1
    assert heard.lost_s == 0
    _check_ticks(camera, heard, range(1, 3))


@pytest.mark.parametrize("speed", [0.97, 1.03])
def test_a_sound_card_that_is_fast_or_slow_is_followed(speed: float) -> None:
    with serving(Camera(ticks(30), speed=speed)) as camera:
        heard = listen(camera.url(), 12.0)
    assert heard.segments == 1
    _check_ticks(camera, heard, range(1, 12))


def test_what_a_camera_loses_in_a_stall_is_lost_once() -> None:
    with serving(Camera(ticks(20), stall=(2.0, 3.0))) as camera:
        heard = listen(camera.url(), 6.0)
    assert heard.segments == 2
    assert heard.lost_s == pytest.approx(3.0, abs=within(0.3))
    _check_ticks(camera, heard, range(1, 6))


def _check_ticks(camera: Camera, heard: Heard, seconds: range) -> None:
    """That every tone has the time at which it was sent."""
    offset_s = time.time() - time.monotonic()
    sent = dict(camera.sent)
    for second in seconds:
        true_s = offset_s + sent[second * RATE]
        assert min(abs(each - true_s) for each in heard.ticks_s) < within(0.25)


def attempts(*outcomes: str) -> tuple[list[RtspWay], Callable[[RtspWay], str]]:
    """Ways as they are tried, and what to try them with; "ok" brings sound."""
    tried: list[RtspWay] = []
    left = list(outcomes)

    def attempt(way: RtspWay) -> str:
        tried.append(way)
        said = left.pop(0)
        if said != "ok":
            raise {"461": UnsupportedTransportError, "gone": FinalError}.get(
                said, UnavailableError
            )(said)
        return said

    return tried, attempt


def test_ways_are_tried_in_order_and_what_worked_comes_first() -> None:
    ways = RtspWays()
    tried, attempt = attempts("silent", "silent", "ok", "ok")
    assert ways.open("cam", attempt) == ("ok", AUDIO_UDP)
    assert tried == [AUDIO_TCP, ALL_TCP, AUDIO_UDP]
    assert ways.open("cam", attempt) == ("ok", AUDIO_UDP)
    assert tried[3:] == [AUDIO_UDP]


def test_a_transport_that_is_refused_is_left_out() -> None:
    tried, attempt = attempts("461", "silent", "silent")
    with pytest.raises(UnavailableError) as caught:
        RtspWays().open("cam", attempt)
    assert tried == [AUDIO_TCP, AUDIO_UDP, ALL_UDP]
    assert str(caught.value) == (
        "audio alone over TCP: 461; audio alone over UDP: silent; the whole stream over UDP: silent"
    )


def test_where_nobody_is_there_one_way_is_enough() -> None:
    tried, attempt = attempts("gone")
    with pytest.raises(FinalError, match=r"^gone$"):
        RtspWays().open("cam", attempt)
    assert tried == [AUDIO_TCP]


def test_every_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ways = RtspWays("tcp")
    _, attempt = attempts(*["silent"] * 4)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            ways.open("cam", attempt)
    assert caplog.text.count("trying another way") == 2


def test_short_connections_make_another_way_be_tried_and_the_longest_is_kept() -> None:
    ways = RtspWays("tcp")
    _, attempt = attempts(*["ok"] * 9)
    ways.ended(AUDIO_TCP, 3.0)
    assert ways.open("cam", attempt)[1] == AUDIO_TCP  # once may be chance
    ways.ended(AUDIO_TCP, 3.0)
    assert ways.open("cam", attempt)[1] == ALL_TCP
    ways.ended(ALL_TCP, 1.0)
    ways.ended(ALL_TCP, 1.0)
    assert ways.open("cam", attempt)[1] == AUDIO_TCP  # none is better
    ways.ended(AUDIO_TCP, 3.0)
    ways.ended(AUDIO_TCP, rtsp.SHORT_S)
    ways.ended(AUDIO_TCP, 3.0)
    assert ways.open("cam", attempt)[1] == AUDIO_TCP


def test_where_pictures_are_wanted_every_connection_begins_with_all() -> None:
    ways = RtspWays(pictures=True)
    tried, attempt = attempts("silent", "ok", "461", "ok", "ok")
    assert ways.open("cam", attempt) == ("ok", AUDIO_TCP)
    said = "its sound alone was asked for, as the whole stream over TCP failed: "
    assert ways.alone == f"{said}silent"
    assert ways.open("cam", attempt) == ("ok", ALL_UDP)
    assert ways.alone is None
    assert ways.open("cam", attempt) == ("ok", ALL_UDP)
    assert tried == [ALL_TCP, AUDIO_TCP, ALL_TCP, ALL_UDP, ALL_UDP]


def test_where_pictures_are_wanted_short_connections_change_the_transport_first() -> None:
    ways = RtspWays(pictures=True)
    tried, attempt = attempts(*["ok"] * 9)
    for _ in range(9):
        ways.ended(ways.open("cam", attempt)[1], 3.0)
    once = [ALL_TCP, ALL_TCP, ALL_UDP, ALL_UDP, AUDIO_UDP]
    assert tried[:8] == [*once, ALL_UDP, ALL_TCP, ALL_TCP]


def test_after_a_good_connection_every_transport_is_tried_again() -> None:
    ways = RtspWays(pictures=True)
    tried, attempt = attempts(*["ok"] * 6)
    for heard_s in (3.0, 3.0, rtsp.SHORT_S, 3.0, 3.0, 3.0):
        ways.ended(ways.open("cam", attempt)[1], heard_s)
    assert tried == [ALL_TCP, ALL_TCP, ALL_UDP, ALL_UDP, ALL_UDP, ALL_TCP]


def test_sound_alone_is_for_one_connection_where_pictures_are_wanted() -> None:
    ways = RtspWays("tcp", pictures=True)
    tried, attempt = attempts(*["ok"] * 6)
    for heard_s in (3.0, 3.0, 1e6, 3.0, rtsp.SHORT_S):
        ways.ended(ways.open("cam", attempt)[1], heard_s)
        if tried[-1] == AUDIO_TCP:
            assert ways.alone == (
                "its sound alone was asked for, as the whole stream broke off again and again"
            )
    assert tried == [ALL_TCP, ALL_TCP, AUDIO_TCP, ALL_TCP, ALL_TCP]
    ways.ended(ALL_TCP, 3.0)
    assert ways.open("cam", attempt)[1] == ALL_TCP  # one after a good one may be chance


def test_where_only_all_is_to_be_asked_for_it_is() -> None:
    ways = RtspWays("tcp", "all", pictures=True)
    tried, attempt = attempts(*["ok"] * 5)
    for _ in range(5):
        ways.ended(ways.open("cam", attempt)[1], 3.0)
    assert tried == [ALL_TCP] * 5


def test_a_picture_that_was_missed_once_is_back_with_the_next_connection() -> None:
    pictures, ways = CameraPictures(PictureSettings()), RtspWays(pictures=True)
    said = "its sound alone was asked for, as the whole stream"

    def connected(url: str) -> tuple[str, str | None]:
        stream = NetworkStream(url, ways=ways, pictures=pictures, timeout_s=within(2.0))
        next(stream)
        found = stream.describe.partition(" (")[2], pictures.status.reason
        stream.close()
        return found

    with serving(Camera(ticks(5), only_alone=True)) as camera:
        assert connected(camera.url()) == (
            "audio alone over TCP)",
            f"{said} over TCP failed: no answer within the time limit",
        )
        camera.only_alone = False
        described, why = connected(camera.url())
    assert described == "the whole stream over TCP)"
    assert why is None or "alone" not in why


def test_over_tls_there_is_one_transport() -> None:
    tried, attempt = attempts("silent", "silent")
    with pytest.raises(UnavailableError):
        RtspWays(secure=True).open("cam", attempt)
    assert tried == [AUDIO_TCP, ALL_TCP]
