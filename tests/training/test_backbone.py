"""The backbone never trains, and wrong weights are an error before anything runs."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from leanclips.errors import StudyError
from leanclips.study import Backbone, load_study
from leanclips.training import backbone
from leanclips.training.machine import Compute

LITE = Backbone(name="efficientnet-lite0", size=64)
FP32, BF16 = Compute("cpu", "fp32"), Compute("cpu", "bf16")


@pytest.fixture(scope="module")
def lite():
    return backbone.load(LITE, FP32)


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    """A checkpoint of resnet18 with weights drawn at random."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None).state_dict(), path)
    return path


def frames(count, size=64, seed=0):
    """Smooth pictures, as video has them: (count, size, size, 3), uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(size // 8, axis=1).repeat(size // 8, axis=2)


def test_it_is_frozen_and_in_eval_mode(lite):
    assert not any(parameter.requires_grad for parameter in lite.parameters())
    assert not any(module.training for module in lite.modules())


def test_using_it_changes_nothing_in_it(lite):
    before = {name: value.clone() for name, value in lite.state_dict().items()}
    backbone.features(lite, frames(3))
    assert all(torch.equal(value, lite.state_dict()[name]) for name, value in before.items())


def test_each_frame_becomes_one_vector_that_depends_on_it_alone(lite):
    pictures = frames(4)
    together = backbone.features(lite, pictures)
    assert together.shape == (4, 1280) and together.dtype == np.float32
    alone = np.concatenate([backbone.features(lite, picture[None]) for picture in pictures])
    assert distance(together, alone).max() < 1e-3
    assert distance(together, np.roll(together, 1, axis=0)).min() > 0.01


def distance(a, b):
    """Cosine distance of each pair of rows."""
    return 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def plain(model, pictures):
    """The features of the network as published, in fp32."""
    with torch.no_grad():
        return model(backbone.pixels(pictures)).flatten(1).numpy()


def test_bf16_features_are_near_those_in_fp32(lite):
    pictures, rounded = frames(6), backbone.load(LITE, BF16)
    assert next(rounded.parameters()).dtype is torch.bfloat16
    made, wanted = backbone.features(rounded, pictures), backbone.features(lite, pictures)
    assert made.dtype == np.float32 and 0 < distance(made, wanted).max() < 0.01


def test_fp32_features_are_those_of_plain_torch(resnet_file):
    model = backbone.load(Backbone(name="resnet18", weights=str(resnet_file), size=64), FP32)
    pictures = frames(2)
    published = models.resnet18(weights=None)
    published.load_state_dict(torch.load(resnet_file, weights_only=True))
    published.fc = torch.nn.Identity()
    np.testing.assert_allclose(backbone.features(model, pictures),
                               plain(published.eval(), pictures), rtol=1e-3, atol=1e-4)


def test_blocks_hold_every_frame_once_and_are_full_if_wanted():
    pictures = frames(10)
    parts = backbone.blocks(pictures, 4, full=False)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert np.array_equal(np.concatenate(parts), pictures)
    parts = backbone.blocks(pictures, 4, full=True)
    assert [len(part) for part in parts] == [4, 4, 4]
    assert np.array_equal(np.concatenate(parts)[:10], pictures) and not parts[-1][2:].any()


def test_many_frames_have_the_features_that_they_have_alone(lite, monkeypatch):
    pictures = frames(10)
    whole = backbone.features(lite, pictures)
    monkeypatch.setitem(backbone.PIXELS_AT_ONCE, "cpu", 3 * 64 ** 2)
    np.testing.assert_allclose(backbone.features(lite, pictures), whole, rtol=1e-3, atol=1e-4)


# One of each family that can be used, the smallest, and how many features it gives.
FAMILIES = {"alexnet": 4096, "convnext_tiny": 768, "efficientnet_b0": 1280,
            "googlenet": 1024, "inception_v3": 2048, "maxvit_t": 512, "mnasnet0_5": 1280,
            "mobilenet_v2": 1280, "mobilenet_v3_small": 1024, "regnet_y_400mf": 440,
            "resnext50_32x4d": 2048, "shufflenet_v2_x0_5": 1024,
            "swin_t": 768, "vgg11_bn": 4096, "vit_b_16": 768}
LARGE = ("vgg11_bn", "vit_b_16")  # 530 and 350 MB of weights


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE))
                                  for name in sorted(FAMILIES)])
def test_any_torchvision_classification_model_gives_its_last_features(tmp_path, name):
    built = backbone.BUILT_WITH.get(name, {})
    torch.manual_seed(0)
    state = models.get_model(name, weights=None, **built).state_dict()
    torch.save(state, tmp_path / f"{name}.pth")
    settings = Backbone(name=name, weights=str(tmp_path / f"{name}.pth"))
    model = backbone.load(settings, FP32)
    made = backbone.features(model, frames(1, 224))
    assert made.shape == (1, FAMILIES[name]) and np.isfinite(made).all()
    assert distance(made, plain(backbone.whole(settings), frames(1, 224))).max() < 0.02


def test_a_frame_size_that_the_network_does_not_take_is_told(tmp_path, capsys):
    torch.save(models.maxvit_t(weights=None).state_dict(), tmp_path / "maxvit.pth")
    settings = Backbone(name="maxvit_t", weights=str(tmp_path / "maxvit.pth"), size=96)
    with pytest.raises(StudyError, match="maxvit_t does not take frames of 96 × 96 pixels"):
        backbone.load(settings, FP32)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")])
def test_too_little_memory_is_no_wrong_frame_size(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(backbone, "features", fail)
    with pytest.raises(StudyError, match="the memory does not suffice for efficientnet-lite0 at "
                                         "64 × 64 pixels; end what else fills it, or set a small"):
        backbone.load(LITE, FP32)


def test_batch_norm_is_folded_into_the_convolutions(lite, resnet_file):
    resnet = backbone.load(Backbone(name="resnet18", weights=str(resnet_file)), FP32)
    for model in (lite, resnet):
        assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.modules())


def test_a_checkpoint_may_be_safetensors(tmp_path, resnet_file):
    state = torch.load(resnet_file, weights_only=True)
    save_file(state, tmp_path / "resnet18.safetensors")
    given = Backbone(name="resnet18", weights=str(tmp_path / "resnet18.safetensors"))
    whole = backbone.whole(given)
    assert torch.equal(whole.state_dict()["conv1.weight"], state["conv1.weight"])
    assert backbone.features(backbone.load(given, FP32), frames(1)).shape == (1, 512)


@pytest.mark.parametrize("settings, problem", [
    ({"name": "resnet18", "weights": "nowhere.pth"},
     "nowhere.pth: the weights file is missing; copy it there or .* downloaded, or come with"),
    ({"name": "resnet18", "weights": "/no/checkpoint"}, "/no/checkpoint: the weights file is mis"),
    ({"name": "resnet1"}, "there is no backbone 'resnet1'; use efficientnet-lite0"),
    ({"name": "r3d_18"}, "there is no backbone 'r3d_18'"),
    ({"name": "densenet121"}, "there is no backbone 'densenet121'"),
    ({"name": "resnet18", "weights": "V9"}, "has no weights 'V9'; use IMAGENET1K_V1"),
    ({"name": "efficientnet-lite0", "weights": "V9"}, "has no weights 'V9'"),
])
def test_weights_that_are_not_there_are_told_at_once(settings, problem):
    with pytest.raises(StudyError, match=problem):
        backbone.weights_file(Backbone(**settings))


def test_a_download_that_fails_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(StudyError, match="cannot be downloaded .* start again when there is a netw"
                                         f".* copy the file to {tmp_path}.*efficientnet-lite2"):
        backbone.weights_file(Backbone(name="resnet34"))
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize("sound", [True, False])
def test_a_download_counts_only_with_the_hash_in_its_name(tmp_path, monkeypatch, resnet_file,
                                                          sound):
    content = resnet_file.read_bytes()
    name = f"net-{hashlib.sha256(content if sound else b'other').hexdigest()[:8]}.pth"
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    published = SimpleNamespace(DEFAULT=SimpleNamespace(url=(tmp_path / name).as_uri()))
    monkeypatch.setattr(models, "get_model_weights", lambda _: published)
    settings = Backbone(name="resnet18", size=32 + sound)
    if sound:
        assert backbone.weights_file(settings).read_bytes() == content
    else:
        with pytest.raises(StudyError, match="cannot be downloaded .invalid hash value"):
            backbone.weights_file(settings)
    kept = [path for path in tmp_path.joinpath("cache").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == [name] * sound


def test_weights_that_torchvision_has_already_are_used(tmp_path, monkeypatch, resnet_file):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    cached = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    cached.write_bytes(resnet_file.read_bytes())
    assert backbone.weights_file(Backbone(name="resnet18", size=65)) == cached


@pytest.mark.parametrize("weights, file", [("IMAGENET1K_V1", "resnet152-394f9c45.pth"),
                                           ("IMAGENET1K_V2", "resnet152-f82ba261.pth")])
def test_both_of_resnet_152_s_weights_go_by_their_names(tmp_path, monkeypatch, weights, file):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / file).touch()
    settings = Backbone(name="resnet152", weights=weights)
    assert backbone.weights_file(settings) == tmp_path / "checkpoints" / file


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_file_that_holds_no_weights_of_the_model_is_told(tmp_path, resnet_file, content):
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save(models.mobilenet_v2(weights=None).state_dict(), path)
    else:
        path.write_bytes(content)
    with pytest.raises(StudyError, match="weights.pth: the weights (cannot be read|do not fit)"):
        backbone.load(Backbone(name="resnet18", weights=str(path)), FP32)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(StudyError, match="cannot be read"):
        backbone.load(Backbone(name="resnet18", weights=str(tmp_path / "evil.pth")), FP32)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["mine.pth", "mine"])
def test_a_weights_file_in_study_yml_is_found_from_any_working_directory(
        tmp_path, resnet_file, monkeypatch, name):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / name).write_bytes(resnet_file.read_bytes())
    (tmp_path / "study" / "study.yml").write_text(
        f"title: Mine\nbackbone: {{name: resnet18, weights: {name}}}\n")
    monkeypatch.chdir(tmp_path)
    settings = load_study(tmp_path.joinpath("study").relative_to(tmp_path)).backbone
    monkeypatch.chdir("/")
    assert backbone.weights_file(settings) == tmp_path / "study" / name


def test_the_fingerprint_tells_apart_what_gives_other_features(resnet_file):
    settings = [LITE, Backbone(name="efficientnet-lite0", size=96),
                Backbone(name="efficientnet-lite2", size=64),
                Backbone(name="resnet18", weights=str(resnet_file), size=64)]
    prints = [tuple(backbone.fingerprint(one, FP32)) for one in settings]
    prints += [tuple(backbone.fingerprint(LITE, where)) for where in (
        BF16, Compute("cuda", "fp32"), Compute("mps", "fp32"))]
    assert len(set(prints)) == 7 and prints[0] == tuple(backbone.fingerprint(LITE, FP32))


def test_the_fingerprint_tells_the_weights_by_their_content(tmp_path, resnet_file):
    def printed(name, content):
        (tmp_path / name).write_bytes(content)
        return backbone.fingerprint(
            Backbone(name="resnet18", weights=str(tmp_path / name), size=64), FP32)

    content = resnet_file.read_bytes()
    assert printed("a.pth", content) == printed("b.pth", content) != printed("c.pth", b"other")
