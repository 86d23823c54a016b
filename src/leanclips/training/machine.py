"""How this machine computes: on which device, in which precision, on whose memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch

from leanclips.errors import StudyError
from leanclips.study import Study

# The names of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class Compute:
    """Where a study computes (`cpu`, `cuda` or `mps`) and in what precision its backbone does;
    classifiers compute in fp32 everywhere.
    """

    device: str
    precision: str

    @property
    def is_gpu(self) -> bool:
        return self.device != "cpu"


def compute(study: Study) -> Compute:
    """What the settings `device` and `backbone.precision` come to on this machine; StudyError for
    a device that is not there.
    """
    device, precision = study.device, study.backbone.precision
    there = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise StudyError(f"this machine has no device '{device}'", "study.yml",
                         "set device to auto or cpu")
    if device == "auto":
        device = next((name for name in ("cuda", "mps") if there[name]), "cpu")
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16(device) else "fp32"
    return Compute(device, precision)


def _has_fast_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware (a CPU: AVX512-BF16 or AMX)."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device == "cpu" and bool(check and check())


def compute_repeatably() -> None:
    """Make a GPU give the same numbers each time, in the precision that the records name.

    Call it before anything is on the GPU. cuDNN and cuBLAS have algorithms that add up in another
    order each time, and choose the fastest: the deterministic ones are asked for. By default cuDNN
    rounds the factors of convolutions to TF32 (10 bits of mantissa): that is switched off. A CPU
    computes as before.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@cache
def keep_freed_memory() -> None:
    """Let freed memory stay with the process.

    glibc gives large blocks back to the system, which hands them out again a zeroed page at a
    time. That takes a tenth of a training step, and a third of a small backbone's time.
    """
    if sys.platform == "linux":
        change = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if change:
            change(M_MMAP_THRESHOLD, 2 ** 30)
            change(M_TRIM_THRESHOLD, 2 ** 31 - 1)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers below 1e-38 for zero: gradients and Adam's moments of units that learn nothing
    shrink to such, and a CPU computes with them many times more slowly.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
