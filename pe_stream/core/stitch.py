"""Overlapping windows of scores to a stream in which every frame leaves exactly once."""

from __future__ import annotations

from pe_stream.core.types import FrameScores


class Stitcher:
    """Lets a frame out once it had `lookahead` frames of right context, or at the end.

    Frames count from the start of a segment.
    """

    def __init__(self, lookahead: int) -> None:
        """Start with no frame out."""
        self._lookahead = lookahead
        self._final = 0

    @property
    def final(self) -> int:
        """Number of frames that have left."""
        return self._final

    def accept(self, begin: int, scores: FrameScores, *, last: bool) -> FrameScores:
        """Take the scores of a window that begins at frame `begin`; returns those now final.

        scores: (frames, labels). Raises ValueError where frames between were never scored.
        """
        if begin > self._final:
            raise ValueError(f"frames {self._final} to {begin} were never scored")
        end = begin + len(scores)
        final = end if last else max(self._final, end - self._lookahead)
        out = scores[self._final - begin : final - begin]
        self._final = final
        return out
