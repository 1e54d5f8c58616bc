"""How a source does, for whoever tells of it."""

from __future__ import annotations

from dataclasses import dataclass

from pe_stream.core.ledger import Account
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.picture_ring import PictureStatus

OFTEN = 1.0
"""More breaks a minute are told in words."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source does.

    delivered: samples that came from it, lost ones counted in; scored_frames: frames made final;
    waiting: samples that have arrived and are in no window yet; stretched: windows left out to keep
    up; rtf: scoring time per second of audio lately, over 1 is falling behind, None before the
    first window; lost_reason: why nothing comes from it at present, in words, None while it does;
    level: of the last second, None while there is none, or where it is not measured.
    engine_reason: why the engine gives no scores at present, in words, None while it does or is
    here; engine_away_s: for how long (s); waits: how often it was seen to wait for the engine.
    picture: how its picture does; None where it is not looked at.
    """

    account: Account
    delivered: int
    scored_frames: int
    waiting: int
    stretched: int
    rtf: float | None
    lost_reason: str | None = None
    level: SoundLevel | None = None
    engine_reason: str | None = None
    engine_away_s: float = 0.0
    waits: int = 0
    picture: PictureStatus | None = None

    @property
    def reason(self) -> str | None:
        """What is wrong with the source, in words: why nothing comes, or that it breaks off."""
        if self.lost_reason is None and self.account.breaks_per_minute > OFTEN:
            return "the sound breaks off more than once a minute"
        return self.lost_reason
