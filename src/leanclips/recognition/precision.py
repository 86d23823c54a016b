"""How this machine computes: where, in which precision, on whose memory."""

import ctypes
import os
import sys
from functools import cache

import torch

# The names of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


@cache
def device() -> torch.device:
    """Where backbones compute: the GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16 or AMX)."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


def precision() -> str:
    """In what backbones compute: `bf16` where their device does it in hardware, else `fp32`."""
    fast = (torch.cuda.is_bf16_supported(including_emulation=False)
            if device().type == "cuda" else has_fast_bf16())
    return "bf16" if fast else "fp32"


def note_slow_precision() -> None:
    """Tell a person whose CPU has no fast bf16 what to expect."""
    if device().type == "cpu" and not has_fast_bf16():
        print("This CPU has no AVX512-BF16 or AMX: features are computed in fp32, more slowly.",
              file=sys.stderr, flush=True)


def compute_repeatably() -> None:
    """Let a GPU give the same numbers each time, in the precision that the records name.

    Call it before anything is there. Of the ways to convolve and to run an LSTM some add up in
    another order each time, and which is taken hangs on what was fastest: these are left out, as
    far as cuDNN and cuBLAS offer it. By default cuDNN rounds what convolutions multiply to TF32
    (10 bits after the point), so fp32 would not be fp32. A CPU computes as before.
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
    time: a tenth of a training step, a third of a small backbone's time.
    """
    if sys.platform == "linux":
        change = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if change:
            change(M_MMAP_THRESHOLD, 2 ** 30)
            change(M_TRIM_THRESHOLD, 2 ** 31 - 1)
