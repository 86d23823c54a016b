"""The backbone never trains, and wrong weights are an error before anything runs."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from leanclips.errors import StudyError
from leanclips.recognition import backbone
from leanclips.study import Backbone, load_study

torch.set_num_threads(1)  # as every stage does: more threads fight on a busy machine

LITE = Backbone(name="efficientnet-lite0", size=64)


@pytest.fixture(scope="module")
def lite():
    return backbone.load(LITE)


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


@pytest.mark.skipif(not backbone.has_fast_bf16(), reason="this CPU computes in fp32")
def test_bf16_features_are_near_those_in_fp32(lite, monkeypatch):
    assert backbone.precision() == "bf16"
    fast = backbone.features(lite, frames(6))
    monkeypatch.setattr(backbone, "has_fast_bf16", lambda: False)
    assert distance(fast, backbone.features(lite, frames(6))).max() < 0.01
    assert backbone.precision() == "fp32"


def test_without_bf16_features_are_those_of_plain_torch(resnet_file, monkeypatch):
    monkeypatch.setattr(backbone, "has_fast_bf16", lambda: False)
    model = backbone.load(Backbone(name="resnet18", weights=str(resnet_file)))
    pictures = frames(2)
    whole = models.resnet18(weights=None)
    whole.load_state_dict(torch.load(resnet_file, weights_only=True))
    whole.fc = torch.nn.Identity()
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        wanted = whole.eval()((pixels - mean[:, None, None]) / std[:, None, None]).numpy()
    np.testing.assert_allclose(backbone.features(model, pictures), wanted, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_may_be_safetensors(tmp_path, resnet_file):
    state = torch.load(resnet_file, weights_only=True)
    save_file(state, tmp_path / "resnet18.safetensors")
    given = Backbone(name="resnet18", weights=str(tmp_path / "resnet18.safetensors"))
    model = backbone.load(given)
    assert torch.equal(model.state_dict()["conv1.weight"], state["conv1.weight"])
    assert backbone.features(model, frames(1)).shape == (1, 512)


@pytest.mark.parametrize("settings, problem", [
    ({"name": "resnet18", "weights": "nowhere.pth"}, "nowhere.pth: the weights file is missing"),
    ({"name": "resnet1"}, "there is no backbone 'resnet1'; use efficientnet-lite0"),
    ({"name": "r3d_18"}, "there is no backbone 'r3d_18'"),
    ({"name": "resnet18", "weights": "V9"}, "has no weights 'V9'; use IMAGENET1K_V1"),
    ({"name": "efficientnet-lite0", "weights": "V9"}, "has no weights 'V9'"),
])
def test_weights_that_are_not_there_are_told_at_once(settings, problem):
    with pytest.raises(StudyError, match=problem):
        backbone.weights_file(Backbone(**settings))


def test_a_download_that_fails_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(StudyError, match=f"cannot be downloaded .* copy the file to {tmp_path}"):
        backbone.weights_file(Backbone(name="resnet34"))
    assert not list(tmp_path.rglob("*.pth"))


def test_weights_that_torchvision_has_already_are_used(tmp_path, monkeypatch, resnet_file):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    cached = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    cached.write_bytes(resnet_file.read_bytes())
    assert backbone.weights_file(Backbone(name="resnet18", size=65)) == cached


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_file_that_holds_no_weights_of_the_model_is_told(tmp_path, resnet_file, content):
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
    else:
        path.write_bytes(content)
    with pytest.raises(StudyError, match="weights.pth: the weights (cannot be read|do not fit)"):
        backbone.load(Backbone(name="resnet18", weights=str(path)))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(StudyError, match="cannot be read"):
        backbone.load(Backbone(name="resnet18", weights=str(tmp_path / "evil.pth")))
    assert not (tmp_path / "ran").exists()


def test_a_weights_file_in_study_yml_is_found_from_any_working_directory(
        tmp_path, resnet_file, monkeypatch):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.pth").write_bytes(resnet_file.read_bytes())
    (tmp_path / "study" / "study.yml").write_text(
        "title: Mine\nbackbone: {name: resnet18, weights: mine.pth}\n")
    monkeypatch.chdir(tmp_path)
    settings = load_study(tmp_path.joinpath("study").relative_to(tmp_path)).backbone
    monkeypatch.chdir("/")
    assert backbone.weights_file(settings) == tmp_path / "study" / "mine.pth"


def test_the_fingerprint_tells_apart_what_gives_other_features(resnet_file):
    settings = [LITE, Backbone(name="efficientnet-lite0", size=96),
                Backbone(name="efficientnet-lite2", size=64),
                Backbone(name="resnet18", weights=str(resnet_file), size=64)]
    prints = [tuple(backbone.fingerprint(one)) for one in settings]
    assert len(set(prints)) == 4 and prints[0] == tuple(backbone.fingerprint(LITE))
