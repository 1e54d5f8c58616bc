"""Films drawn on the spot: a bar grows from left to right, and once everything is white."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

RATE = 48_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """A film. flash_s: when it is white, and when a noise begins; later_s: sound begins so late.

    size: of the picture (pixels); turn: degrees by which a player turns it; key: a picture that
    stands for itself comes after so many.
    """

    seconds: float = 12.0
    fps: int = 25
    flash_s: float = 6.0
    size: tuple[int, int] = (96, 64)
    codec: str = "libx264"
    sound: bool = True
    picture: bool = True
    later_s: float = 0.0
    turn: int = 0
    key: int = 50

    def save(self, path: Path) -> Path:
        with av.open(str(path), "w") as container:
            audio = container.add_stream("aac", rate=RATE, layout="mono") if self.sound else None
            if self.picture:
                self._draw(container)
            if audio is not None:
                samples = self.samples()
                for start in range(0, len(samples), 1024):
                    piece = samples[None, start : start + 1024]
                    frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                    frame.rate, frame.pts = RATE, start + round(self.later_s * RATE)
                    container.mux(audio.encode(frame))
                container.mux(audio.encode())
        return path

    def samples(self) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        numbers = np.random.default_rng(0)
        made = numbers.standard_normal(round((self.seconds - self.later_s) * RATE)) * 0.001
        start = round((self.flash_s - self.later_s) * RATE)
        made[start : start + RATE // 2] += 0.2 * numbers.standard_normal(RATE // 2)
        return made.astype(np.float32)

    def bar(self, time_s: float) -> int:
        """How far the bar reaches then (pixels)."""
        return round(self.size[0] * time_s / self.seconds)

    def _draw(self, container: av.container.OutputContainer) -> None:
        video = container.add_stream(self.codec, rate=self.fps)
        assert isinstance(video, av.VideoStream)
        video.width, video.height = self.size
        video.pix_fmt = "yuvj420p" if self.codec == "mjpeg" else "yuv420p"
        video.codec_context.gop_size = self.key
        if self.turn:
            video.set_display_rotation(self.turn)
        for number in range(round(self.seconds * self.fps)):
            picture = np.full((self.size[1], self.size[0], 3), 40, np.uint8)
            picture[:, : self.bar(number / self.fps)] = (200, 30, 30)
            if 0 <= number / self.fps - self.flash_s < 1 / self.fps - 1e-6:
                picture[:] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
