"""PE-AV by parts against transformers' own calls, and against what timm and torchvision made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoints import make_checkpoint
from model.damage import Change, edit, edit_weights
from model.make_pe_av_reference import CLIPS, IDS, REFERENCE
from model.pe_av import (
    PROCESSOR,
    drop_final_norm,
    make_model,
    pictures,
    sounds,
    timm_stood_in_for,
)
from safetensors.torch import load_file, save_file
from transformers import PeAudioModel

from pe_stream.core.opinion import OpinionTexts, spread
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model import second_opinion
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.preprocessing import PictureFormat, normalise, squeeze
from pe_stream.model.second_opinion import OpinionModel, SquarePicture, load_opinion_model

TEXTS = ("a dog barking", "speech", "a door bell rings")
LOGITS = ("audio_text", "video_text", "audio_video_text", "audio_video")


@pytest.fixture
def folder(pe_av: Path, tmp_path: Path) -> Path:
    """One of the test's own."""
    return Path(shutil.copytree(pe_av, tmp_path / "pe-av"))


@pytest.fixture(scope="module")
def theirs() -> Any:
    """transformers' own PeAudioVideoModel with the checkpoint's numbers, in float64."""
    with timm_stood_in_for():
        model: Any = make_model().float().double()
    drop_final_norm(model)
    return model


def exact(folder: Path, texts: tuple[str, ...] = TEXTS) -> tuple[OpinionModel, Checkpoint]:
    """Ours in float64."""
    checkpoint = load(str(folder), device="cpu", dtype="float32", clips=True)
    checkpoint.model.double()
    checkpoint = replace(checkpoint, dtype=torch.float64, codec_dtype=torch.float64)
    return OpinionModel(checkpoint, folder, texts), checkpoint


@pytest.fixture(scope="module")
def ours(pe_av: Path) -> tuple[OpinionModel, Checkpoint]:
    return exact(pe_av)


def squares(model: OpinionModel, count: int) -> list[SquarePicture]:
    return [model.square(each, (count, i)) for i, each in enumerate(pictures(count))]


def logits_of(model: OpinionModel, clip: second_opinion.ClipVectors, state: Any) -> list[float]:
    """Sound, picture, both, together: what the scores are the sigmoids of."""
    sight = model.see()
    assert clip.sound is not None
    assert clip.picture is not None
    assert clip.both is not None
    with torch.inference_mode():
        sound = clip.sound @ model._text_head(state) * model._scale + model._bias
        return [
            float(sound),
            float(sight.of_text(clip.picture[None], sight.text_head(state)[None])),
            float(sight.of_both(clip.both[None], sight.text_both_head(state)[None])),
            float(sight.of_sound(clip.sound[None], clip.picture[None])),
        ]


@pytest.mark.parametrize(("count", "frames"), CLIPS)
def test_logits_are_those_of_transformers_with_timm(
    count: int, frames: int, ours: tuple[OpinionModel, Checkpoint]
) -> None:
    model, checkpoint = ours
    expected = np.load(REFERENCE)[f"logits {count} {frames}"]
    # transformers 5.0 makes the rotations of its text tower, in float32, by other operations.
    exactness = 1e-7 if transformers.__version__.startswith("5.0.") else 1e-9
    clip = model.embed(sounds(frames), squares(model, count))
    for ids, row in zip(IDS, expected, strict=True):
        with torch.inference_mode():
            text: Any = checkpoint.model.text_model
            state = text(input_ids=torch.tensor([ids])).last_hidden_state[0, 0]
        assert logits_of(model, clip, state) == pytest.approx(row, abs=exactness)


@pytest.mark.parametrize(("count", "frames"), [(1, 1), (3, 50), (50, 50), (16, 3)])
def test_scores_are_those_of_the_transformers_installed(
    count: int, frames: int, ours: tuple[OpinionModel, Checkpoint], theirs: Any
) -> None:
    """Two prompts, averaged in the logit, one text a call; `seen` is of the picture alone."""
    model, checkpoint = ours
    shown = squares(model, count)
    pixels = normalise([each.pixels for each in shown], model.see().form).double()[None]
    told = {text: _call(theirs, checkpoint, text, sounds(frames), pixels) for text in TEXTS}
    found = model.judge(model.embed(sounds(frames), shown), OpinionTexts(TEXTS[:2], TEXTS[2:]))
    means = (told[TEXTS[0]] + told[TEXTS[1]]) / 2
    means[1] = told[TEXTS[2]][1]
    expected = torch.tensor(means).sigmoid().tolist()
    scores = [found.sound, found.picture, found.both, found.together]
    assert scores == pytest.approx(expected, abs=1e-9)


def _call(theirs: Any, checkpoint: Checkpoint, text: str, sound: Any, pixels: Any) -> Any:
    ids = torch.tensor([checkpoint.tokenizer(text)["input_ids"]])
    heard = torch.from_numpy(sound).double()[None, None]
    with torch.inference_mode():
        told = theirs(input_ids=ids, input_values=heard, pixel_values_videos=pixels)
        of_video = theirs.video_model(input_ids=ids, pixel_values_videos=pixels)
        of_audio = theirs.audio_model(input_ids=ids, input_values=heard)
    assert float(of_audio.logits_audio_text) == float(told.logits_audio_text)
    assert float(of_video.logits_video_text) == float(told.logits_video_text)
    return np.array([float(told[f"logits_{name}"]) for name in LOGITS])


def test_the_tower_is_timms(ours: tuple[OpinionModel, Checkpoint]) -> None:
    stored = np.load(REFERENCE)
    with torch.inference_mode():
        found = ours[0].see().tower(torch.from_numpy(stored["pixels"]).double())
    assert np.abs(found.numpy() - stored["tower"]).max() < 1e-12


def test_pictures_are_prepared_bit_by_bit_as_by_the_processor() -> None:
    """Wide, nearly square and upright ones."""
    size = PROCESSOR["size"]["height"]
    found = normalise([squeeze(each, size) for each in pictures(3)], PictureFormat(size))
    assert np.array_equal(found.numpy(), np.load(REFERENCE)["pixels"])


def test_pictures_of_the_towers_size_stay_as_they_are() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(squeeze(picture, 32).permute(1, 2, 0).numpy(), picture)
    assert np.array_equal(squeeze(picture[::-1], 32).permute(1, 2, 0).numpy(), picture[::-1])


def test_a_checkpoint_that_wants_sixteen_pictures_gets_some_several_times(
    folder: Path, ours: tuple[OpinionModel, Checkpoint]
) -> None:
    edit(
        "processor_config.json",
        lambda c: c["video_processor"].update(do_sample_frames=True, num_frames=16),
    )(folder)
    model, _ = exact(folder)
    plain, _ = ours
    three = squares(plain, 3)
    texts = OpinionTexts(TEXTS[:1], TEXTS[:1])
    found = model.judge(model.embed(sounds(9), three), texts)
    repeated = [three[i] for i in spread(3, 16)]
    assert [r.key for r in repeated] == [(3, 0)] * 8 + [(3, 1)] * 7 + [(3, 2)]
    assert found == plain.judge(plain.embed(sounds(9), repeated), texts)
    assert found != plain.judge(plain.embed(sounds(9), three), texts)


def test_each_picture_goes_through_the_tower_once(
    pe_av: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_opinion_model(str(pe_av), TEXTS, device="cpu", dtype="float32")
    seen: list[int] = []
    tower = model.see().tower
    run = tower.forward

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return run(pixels)

    monkeypatch.setattr(tower, "forward", counted)
    shown = squares(model, 16)
    first = model.embed(sounds(5), shown[:10])
    second = model.embed(sounds(5), shown[4:])
    assert sum(seen) == 16
    again = load_opinion_model(str(pe_av), TEXTS, device="cpu", dtype="float32")
    for clip, some in ((first, shown[:10]), (second, shown[4:])):
        alone = again.embed(sounds(5), some).picture
        assert clip.picture is not None
        assert alone is not None
        assert torch.allclose(clip.picture, alone, atol=1e-5)
    monkeypatch.setattr(second_opinion, "_MOST_FEATURES", 4)
    model.embed(None, shown[:3])
    assert len(model._features) == 4


def test_only_what_is_asked_for_is_read(pe_av: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No seeing half for sound alone, and the text tower is let go."""
    towers: list[weakref.ref[Any]] = []

    def watched(*arguments: Any, **more: Any) -> Checkpoint:
        checkpoint = load(*arguments, **more)
        towers.append(weakref.ref(checkpoint.model.text_model))
        return checkpoint

    monkeypatch.setattr(second_opinion, "load", watched)
    model = load_opinion_model(str(pe_av), TEXTS, device="cpu", dtype="float32")
    assert [tower() for tower in towers] == [None]
    clip = model.embed(sounds(5))
    scores = model.judge(clip, OpinionTexts(TEXTS[:1], TEXTS[:1]))
    assert (clip.picture, clip.both, scores.picture, scores.both, scores.together) == (None,) * 5
    assert model._sight is None
    silent = model.judge(model.embed(None, squares(model, 2)), OpinionTexts(TEXTS[:1], TEXTS[:1]))
    assert (silent.sound, silent.both, silent.together) == (None, None, None)
    assert silent.picture is not None
    with pytest.raises(ValueError, match="nothing to hear, and nothing to see"):
        model.embed(None)


def test_a_negative_that_scores_higher_leaves_nothing(
    ours: tuple[OpinionModel, Checkpoint],
) -> None:
    model, _ = ours
    clip = model.embed(sounds(20), squares(model, 3))
    alone = {text: model.judge(clip, OpinionTexts((text,), (text,))) for text in TEXTS}
    for field in ("sound", "picture", "both"):
        low, *_, high = sorted(TEXTS, key=lambda text: float(getattr(alone[text], field)))
        for text, other, expected in (
            (low, high, 0.0),
            (high, low, getattr(alone[high], field)),
        ):
            found = model.judge(clip, OpinionTexts((text,), (text,), (other,)))
            assert getattr(found, field) == pytest.approx(expected, abs=1e-12)
            assert found.together == alone[text].together
    broken = replace(clip, sound=torch.full_like(clip.sound, torch.nan))  # type: ignore[arg-type]  # it has sound
    assert model.judge(broken, OpinionTexts(TEXTS[:1], TEXTS[:1])).sound == 0.0


@pytest.mark.parametrize("known", [True, False])
def test_kept_vectors_score_against_a_text_as_the_clip_itself(pe_av: Path, *, known: bool) -> None:
    """Also where the text is new, of which the text tower is read again, and let go."""
    text = TEXTS[0]
    model = load_opinion_model(str(pe_av), TEXTS, device="cpu", dtype="float32")
    asked = load_opinion_model(str(pe_av), [text] * known, device="cpu", dtype="float32")
    clip = model.embed(sounds(20), squares(model, 3))
    kept = model.kept(clip)
    assert (kept.checkpoint, kept.identity) == (str(pe_av), load(str(pe_av), clips=True).identity)
    scores = model.judge(clip, OpinionTexts((text,), (text,)))
    probe = asked.probe(text)
    assert probe.identity == kept.identity
    assert list(kept.vectors) == list(probe.rows) == ["sound", "picture", "both"]
    for kind, vector in kept.vectors.items():
        whole = getattr(clip, kind)
        assert vector.dtype == np.float16
        assert np.array_equal(vector, whole.half().numpy())
        (logit,) = probe.logits(kind, vector[None])
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(getattr(scores, kind), abs=1e-3)
    assert asked._sight is None, "the tower that sees is not needed for words"
    tower = asked._later.tower
    assert (tower._side is None) == known
    asked.rest(tower._used_s + 59)
    assert (tower._side is None) == known
    asked.rest(tower._used_s + 61)
    assert tower._side is None


def test_what_hears_alone_has_vectors_of_sound_alone(tmp_path: Path, pe_av: Path) -> None:
    seeing = load_opinion_model(str(pe_av), TEXTS[:1], device="cpu", dtype="float32")
    assert list(seeing.kept(seeing.embed(sounds(5))).vectors) == ["sound"]
    folder = make_checkpoint(tmp_path / "audio")
    edit("config.json", lambda c: c.update(architectures=["PeAudioModel"]))(folder)
    model = load_opinion_model(str(folder), [], device="cpu", dtype="float32")
    assert list(model.probe("a dog").rows) == ["sound"]


def test_a_text_for_a_checkpoint_that_was_changed_is_refused(folder: Path) -> None:
    model = load_opinion_model(str(folder), TEXTS[:1], device="cpu", dtype="float32")
    edit_weights(lambda w: w.pop(SCALE))(folder)
    with pytest.raises(UnavailableError, match="it was changed since it was loaded"):
        model.probe("a dog")
    with pytest.raises(ConfigError, match="a prompt is empty"):
        model.probe(" ")  # which needs nothing of the folder


def test_in_bfloat16_it_sees_and_hears_nearly_the_same(pe_av: Path) -> None:
    clips = []
    for dtype in ("float32", "bfloat16"):
        model = load_opinion_model(str(pe_av), TEXTS, device="cpu", dtype=dtype)
        sight: Any = model.see()
        assert sight.proj.weight.dtype == getattr(torch, dtype)
        assert sight.tower.blocks[0].attn.qkv.weight.dtype == getattr(torch, dtype)
        assert sight.tower.norm.weight.dtype == sight.head.proj.weight.dtype == torch.float32
        clips.append(model.embed(sounds(20), squares(model, 3)))
    for exactly, roughly in zip(*((c.sound, c.picture, c.both) for c in clips), strict=True):
        assert exactly is not None
        assert roughly is not None
        assert torch.cosine_similarity(exactly, roughly, dim=0) > 0.995


VIDEO, FUSION = "video_model.video_encoder.", "audio_video_encoder.embedder.video_encoder."
LAYOUTS = {
    "once, under the last names": {
        "audio_model.audio_encoder.": ["audio_video_encoder.embedder.audio_encoder."],
        "text_model.": ["video_model.text_model."],
        VIDEO: [FUSION],
    },
    "everywhere": {
        "audio_model.audio_encoder.": [
            "audio_model.audio_encoder.",
            "audio_video_encoder.embedder.audio_encoder.",
        ],
        "text_model.": ["text_model.", "audio_model.text_model.", "video_model.text_model."],
        VIDEO: [VIDEO, FUSION],
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shared_weights_are_found_wherever_they_lie(
    layout: str, folder: Path, ours: tuple[OpinionModel, Checkpoint]
) -> None:
    stored = load_file(folder / "model.safetensors")
    made = {}
    for key, weight in stored.items():
        old = next((old for old in LAYOUTS[layout] if key.startswith(old)), "")
        for new in LAYOUTS[layout].get(old, [""]):
            made[new + key.removeprefix(old)] = weight.clone()
    assert made.keys() != stored.keys()
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    model, _ = exact(folder)
    texts = OpinionTexts(TEXTS[:1], TEXTS[:1])
    plain = ours[0]
    found, expected = (
        each.judge(each.embed(sounds(7), squares(plain, 3)), texts) for each in (model, plain)
    )
    assert found == expected


def test_what_the_configuration_says_of_labels_does_not_matter(folder: Path) -> None:
    """transformers 5.20 to 5.24 make 2 of it, and then cannot load what they saved."""

    def change(config: dict[str, Any]) -> None:
        vision = config["audio_video_config"]["video_config"]["vision_config"]
        vision.pop("label_names", None)
        vision.update(num_classes=2, num_labels=2)

    edit("config.json", change)(folder)
    exact(folder)[0].see()


def test_a_pe_audio_model_hears_and_does_not_see(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_checkpoint(tmp_path / "audio")
    edit("config.json", lambda c: c.update(architectures=["PeAudioModel"]))(folder)
    model, checkpoint = exact(folder)
    assert not model.sees
    theirs: Any = PeAudioModel.from_pretrained(folder, trust_remote_code=False).double().eval()
    theirs.text_model.final_norm = torch.nn.Identity()
    ids = torch.tensor([checkpoint.tokenizer(TEXTS[0])["input_ids"]])
    with torch.inference_mode():
        heard = torch.from_numpy(sounds(50)).double()[None, None]
        expected = theirs(input_ids=ids, input_values=heard).logits_audio_text.sigmoid()
    found = model.judge(model.embed(sounds(50)), OpinionTexts(TEXTS[:1], TEXTS[:1]))
    assert found.sound == pytest.approx(float(expected), abs=1e-9)
    assert not caplog.records


def vision(**changes: object) -> Change:
    return edit(
        "config.json",
        lambda c: c["audio_video_config"]["video_config"]["vision_config"].update(changes),
    )


def shown(**changes: object) -> Change:
    return edit("processor_config.json", lambda c: c["video_processor"].update(changes))


def arguments(**changes: object) -> Change:
    return vision(model_args={"img_size": 32, "patch_size": 8, "embed_dim": 32} | changes)


NORM = "video_model.video_encoder.norm.weight"
SCALE = "audio_video_logit_scale"

UNFIT: dict[str, tuple[Change, str]] = {
    "no tower": (
        edit_weights(lambda w: [w.pop(key) for key in list(w) if "timm_model" in key]),
        "its weights lack those of a vision tower",
    ),
    "a weight missing": (
        edit_weights(lambda w: w.pop(NORM)),
        r"its weights lack video_encoder.norm.weight \(1 missing in all\)",
    ),
    "a scale missing": (edit_weights(lambda w: w.pop(SCALE)), "lack of_sound.logit_scale"),
    "another shape": (
        edit_weights(lambda w: w.update({NORM: torch.ones(3)})),
        r"video_encoder.norm.weight is \[3\], not \[32\]",
    ),
    "another architecture": (vision(architecture="resnet50"), "which is not one of vit_pe_core"),
    "no pool": (vision(global_pool="avg"), "without its pool"),
    "an argument not known": (arguments(depth=2, init_values=0.1), "'init_values', which is not"),
    "a depth out of bounds": (arguments(depth=10**9), "depth is 1000000000, not a whole number"),
    "no square": (arguments(img_size=[32, 64]), "img_size is of no square"),
    "a patch that does not fit": (arguments(patch_size=7), "do not fit each other"),
    "heads that do not fit": (arguments(num_heads=3), "do not fit each other"),
    "deeper than what is stored": (arguments(depth=100, num_heads=2), "asks for 1351198 numbers"),
    "no vision config": (
        edit("config.json", lambda c: c["audio_video_config"].pop("video_config")),
        "describes no PE-AV model",
    ),
    "layers without end": (
        edit("config.json", lambda c: c["audio_video_config"].update(num_hidden_layers=10**6)),
        "num_hidden_layers is 1000000, not a whole number from 1 to 128",
    ),
    "pictures cropped": (shown(do_center_crop=True), "otherwise than squeezed to 32 x 32"),
    "pictures of another size": (shown(size={"height": 64, "width": 64}), "otherwise than"),
    "pictures by another filter": (shown(resample=3), "otherwise than squeezed"),
    "no deviation": (shown(image_std=[0.5, 0.5, 0]), "no numbers above 0"),
    "a mean in words": (shown(image_mean="grey"), "no numbers above 0"),
    "no pictures": (shown(do_sample_frames=True, num_frames=0), "num_frames is not"),
    "pictures without end": (shown(do_sample_frames=True, num_frames=10**9), "num_frames is not"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_seeing_half_that_is_unfit_is_refused_before_anything_is_asked(
    case: str, folder: Path
) -> None:
    change, message = UNFIT[case]
    change(folder)
    with pytest.raises(UnavailableError, match=message) as error:
        load_opinion_model(str(folder), TEXTS, device="cpu", dtype="float32")
    text = str(error.value)
    assert text.startswith(f"second opinion: checkpoint {str(folder)!r}: ")
    assert "embedded" not in text  # it has no opinion
    assert text.isprintable()
    assert len(text) < 1000


def test_numbers_that_are_none_are_refused_where_they_are_read(folder: Path) -> None:
    edit_weights(lambda w: w[NORM].fill_(torch.nan))(folder)
    model = load_opinion_model(str(folder), TEXTS, device="cpu", dtype="float32")
    with pytest.raises(UnavailableError, match=r"norm\.weight of its weights has what"):
        model.see()


def test_a_frame_level_checkpoint_has_no_opinion(tmp_path: Path) -> None:
    for name in ("embedded", str(make_checkpoint(tmp_path / "frames"))):
        with pytest.raises(UnavailableError, match="is a PeAudioFrameLevelModel, which was never"):
            load_opinion_model(name, TEXTS)


def test_texts_are_looked_at(pe_av: Path) -> None:
    for text, message in ((" ", "a prompt is empty"), ("a\nb", "control character")):
        with pytest.raises(ConfigError, match=message):
            load_opinion_model(str(pe_av), [text], device="cpu")


def test_its_frames_are_warned_about(pe_av: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(str(pe_av), device="cpu", dtype="float32")
    (told,) = caplog.messages
    assert "is a PeAudioVideoModel: it was taught what a whole clip is like" in told


def test_other_means_and_deviations_are_those_of_the_checkpoint(folder: Path) -> None:
    shown(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])(folder)
    form = load_opinion_model(str(folder), TEXTS, device="cpu").see().form
    assert form.mean == pytest.approx((102, 127.5, 153))
    assert form.deviation == pytest.approx((51, 76.5, 102))
    grey = torch.full((3, 32, 32), 102, dtype=torch.uint8)
    assert normalise([grey], form)[0, :, 0, 0].tolist() == pytest.approx([0, -1 / 3, -0.5])


def test_a_torchvision_that_does_not_fit_is_named(pe_av: Path, tmp_path: Path) -> None:
    """It fails as a torchvision beside another torch does; nothing of ours asks for it."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")', "utf-8"
    )
    facts = tmp_path / "torchvision-0.28.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from pe_stream.errors import UnavailableError\n"
        "from pe_stream.model.second_opinion import load_opinion_model\n"
        f"try: load_opinion_model({str(pe_av)!r}, ['a dog'], device='cpu')\n"
        "except UnavailableError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torchvision 0.28.0 does not work beside torch " in done.stdout
    assert "operator torchvision::nms does not exist" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_the_reference_is_of_the_checkpoint_as_it_is(pe_av: Path) -> None:
    """Whoever changes what the small model is has to make the reference anew."""
    config = json.loads((pe_av / "config.json").read_text("utf-8"))
    tower = config["audio_video_config"]["video_config"]["vision_config"]
    assert tower["num_classes"] == np.load(REFERENCE)["tower"].shape[1]
