"""What cameras send: sound, and a picture with or without its faults, as a transport stream.

A bar shows the time: so many pixels a second. Sound is quiet noise with a loud second.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48_000
PIXELS_PER_S = 20
BRIGHT = 200


@dataclass(frozen=True, slots=True)
class CameraFilm:
    """fps: pictures a second. key: one of so many stands for itself; begins: with that picture.

    sound, picture: whether there are any. stands_still: from then on (s). resized: (at, width,
    height). stamp_s: that a picture at a time gets. damages: chance that a packet is changed.
    reorders: whether pictures are sent out of order. loud: when the loud second begins (s).
    """

    seconds: float = 12.0
    fps: int = 10
    size: tuple[int, int] = (480, 64)
    codec: str = "libx264"
    container: str = "mpegts"
    key: int = 10
    begins: int = 0
    sound: bool = True
    picture: bool = True
    stands_still: float = 1e9
    resized: tuple[float, int, int] = (1e9, 0, 0)
    stamp_s: Callable[[float], float] = lambda time_s: time_s
    damages: float = 0.0
    reorders: bool = False
    loud: float = 6.0

    def save(self, path: Path) -> bytes:
        options = {"max_interleave_delta": "1"}
        with av.open(str(path), "w", format=self.container, options=options) as container:
            video = container.add_stream(self.codec, rate=self.fps) if self.picture else None
            audio = container.add_stream("mp2", rate=RATE, layout="mono") if self.sound else None
            if video is not None:
                assert isinstance(video, av.VideoStream)
                video.width, video.height = self.size
                video.pix_fmt = "yuv422p" if self.codec == "huffyuv" else "yuv420p"
                self._set(video.codec_context)
            pictures = self._packets(video)
            at_s, picture = next(pictures, (1e9, None))
            for start in range(0, round(self.seconds * RATE), 1152):
                while at_s <= start / RATE:
                    container.mux(picture or [])
                    at_s, picture = next(pictures, (1e9, None))
                if audio is not None:
                    container.mux(audio.encode(self._sound(start)))
            for _, left in pictures:
                container.mux(left)
            if audio is not None:
                container.mux(audio.encode())
        return path.read_bytes()

    def picture_at(self, time_s: float, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        width, height = size or self.size
        drawn = np.full((height, width, 3), 40, np.uint8)
        drawn[:, : round(min(time_s, self.stands_still) * PIXELS_PER_S)] = BRIGHT
        return drawn

    def _set(self, context: Any) -> None:
        context.gop_size = self.key
        if self.codec == "libx264":
            order = {"bf": "2"} if self.reorders else {"tune": "zerolatency"}
            context.options = {"preset": "ultrafast", "sc_threshold": "0", **order}
        elif self.codec == "libx265":
            context.options = {"preset": "ultrafast", "x265-params": "log-level=0:bframes=0"}

    def _packets(self, video: Any) -> Iterator[tuple[float, list[av.Packet[Any]]]]:
        """Those of each picture, and when it was made (s)."""
        if video is None:
            return
        chance = random.Random(0)
        encoder, size = video, self.size
        for number in range(round(self.seconds * self.fps)):
            time_s = number / self.fps
            at_s, width, height = self.resized
            if time_s >= at_s and size != (width, height):
                size = width, height
                encoder = cast("Any", av.CodecContext.create(self.codec, "w"))
                encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
                encoder.time_base = encoder.framerate = Fraction(1, self.fps)
                encoder.framerate = Fraction(self.fps)
                self._set(encoder)
            frame = av.VideoFrame.from_ndarray(self.picture_at(time_s, size), format="rgb24")
            frame.pts, frame.time_base = round(self.stamp_s(time_s) * 1000), Fraction(1, 1000)
            packets = [self._damaged(each, chance) for each in encoder.encode(frame)]
            for each in packets:
                each.stream = video
            yield time_s, packets if number >= self.begins else []
        yield self.seconds, [self._damaged(each, chance) for each in video.encode(None)]

    def _damaged(self, packet: av.Packet[Any], chance: random.Random) -> av.Packet[Any]:
        if chance.random() >= self.damages:
            return packet
        data = bytearray(bytes(packet))
        for _ in range(1 + len(data) // 20):
            data[chance.randrange(len(data))] = chance.randrange(256)
        changed = av.Packet(bytes(data))
        changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
        changed.is_keyframe = packet.is_keyframe
        return changed

    def _sound(self, start: int) -> av.AudioFrame:
        numbers = np.random.default_rng(start)
        made = 0.001 * numbers.standard_normal(1152)
        loud = np.abs((start + np.arange(1152)) / RATE - self.loud - 0.5) < 0.5
        made[loud] += 0.2 * numbers.standard_normal(int(loud.sum()))
        frame = av.AudioFrame.from_ndarray(
            np.round(made * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        return frame


def shown_s(rgb: NDArray[np.uint8]) -> float:
    """The time that a picture shows, as it was drawn 480 pixels wide (s)."""
    bright = (rgb[rgb.shape[0] // 2, :, 0] > BRIGHT // 2).sum()
    return float(bright) / PIXELS_PER_S
