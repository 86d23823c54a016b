"""Where this machine computes, and in which precision."""

from functools import cache

import torch


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
