from __future__ import annotations

from dataclasses import replace

from pe_stream.core.ledger import Account, SourceState
from pe_stream.core.opinion import OpinionStatus
from pe_stream.core.picture_ring import PictureStatus
from pe_stream.core.source_status import SourceStatus
from pe_stream.daemon.health import HEALTH_S, Health


def status(state: SourceState) -> SourceStatus:
    account = Account(state=state, heard=48_000, lost=24_000, flat=0, clipped=0, level_dbfs=-40.0)
    return SourceStatus(account, 72_000, 25, 0, 0, 0.1)


def test_it_is_told_on_change_and_now_and_then() -> None:
    health = Health()
    first = health.due(status(SourceState.HEARING), None, None, 0.0)
    assert first is not None
    assert (first["state"], first["heard_s"], first["lost_s"]) == ("hearing", 1.0, 0.5)
    assert first["since"].endswith("Z")
    assert health.due(status(SourceState.HEARING), None, None, 1.0) is None
    changed = health.due(status(SourceState.LOST), None, None, 2.0)
    assert changed is not None
    assert changed["state"] == "lost"
    full = health.due(status(SourceState.LOST), "disk is full", None, 3.0)
    assert full is not None
    assert full["store"] == "disk is full"
    assert full["since"] == changed["since"]
    short = health.due(status(SourceState.LOST), "disk is full", "no threads", 3.0)
    assert short is not None
    assert (full["resources"], short["resources"]) == ("ok", "no threads")
    again = health.due(status(SourceState.LOST), "disk is full", "no threads", 3.0 + HEALTH_S)
    assert again is not None


def test_why_nothing_comes_is_told_on_change() -> None:
    health = Health()
    lost = replace(status(SourceState.LOST), lost_reason="the camera has hung up")
    first = health.due(lost, None, None, 0.0)
    assert first is not None
    assert first["reason"] == "the camera has hung up"
    refused = replace(lost, lost_reason="401 Unauthorized")
    told = health.due(refused, None, None, 1.0)
    assert told is not None
    assert told["reason"] == "401 Unauthorized"
    assert health.due(refused, None, None, 2.0) is None


def test_looking_at_it_takes_no_change_away() -> None:
    health = Health()
    health.due(status(SourceState.HEARING), None, None, 0.0)
    seen = health.shown(status(SourceState.LOST), None, None)
    told = health.due(status(SourceState.LOST), None, None, 0.5)
    assert told is not None
    assert told["since"] == seen["since"]


def test_a_source_that_breaks_off_often_says_so_in_words() -> None:
    health = Health()
    hearing = status(SourceState.HEARING)
    often = replace(hearing, account=replace(hearing.account, breaks=9, breaks_per_minute=1.8))
    first = health.due(hearing, None, None, 0.0)
    assert first is not None
    assert (first["breaks_per_minute"], first["reason"]) == (0.0, None)
    told = health.due(often, None, None, 1.0)
    assert told is not None
    assert told["breaks_per_minute"] == 1.8
    assert told["reason"] == "the sound breaks off more than once a minute"
    lost = health.due(replace(often, lost_reason="refused"), None, None, 2.0)
    assert lost is not None
    assert lost["reason"] == "refused"


def test_an_engine_that_is_away_is_told_on_change_and_for_how_long() -> None:
    health = Health()
    here = status(SourceState.HEARING)
    first = health.due(here, None, None, 0.0)
    assert first is not None
    assert (first["engine"], first["engine_away_s"]) == ("ok", 0.0)
    away = replace(here, engine_reason="https://ears: refused", engine_away_s=1.5)
    told = health.due(away, None, None, 1.0)
    assert told is not None
    assert (told["engine"], told["engine_away_s"]) == ("https://ears: refused", 1.5)
    assert health.due(replace(away, engine_away_s=2.5), None, None, 2.0) is None
    back = health.due(here, None, None, 3.0)
    assert back is not None
    assert back["engine"] == "ok"


def test_second_opinions_are_told_on_change_where_there_are_any() -> None:
    health = Health()
    here = status(SourceState.HEARING)
    loading = OpinionStatus("loading pe-av")
    first = health.due(here, None, None, 0.0, opinions=loading)
    assert first is not None
    assert first["second_opinion"] == "loading pe-av"
    assert health.due(here, None, None, 1.0, opinions=loading) is None
    told = health.due(here, None, None, 2.0, opinions=OpinionStatus(None))
    assert told is not None
    assert told["second_opinion"] == "ok"
    assert health.shown(here, None, None)["second_opinion"] is None


def test_a_picture_is_told_on_change_where_there_is_one() -> None:
    health = Health()
    here = status(SourceState.HEARING)
    assert health.shown(here, None, None)["picture"] is None
    seen = replace(here, picture=PictureStatus(None, "h264", 640, 360, 15.0, 1, 0))
    for at_s, each, said in (
        (0.0, seen, "ok"),
        (1.0, replace(here, picture=PictureStatus("it has no moving picture")), "it has no moving"),
    ):
        told = health.due(each, None, None, at_s)
        assert told is not None
        assert told["picture"].startswith(said)
        assert told["reason"] is None, "the sound is there"
        assert health.due(each, None, None, at_s + 0.5) is None
