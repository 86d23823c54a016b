"""In which precision this machine multiplies."""

import torch


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16 or AMX)."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


def precision() -> str:
    """`bf16` where the CPU computes it in hardware, else `fp32`."""
    return "bf16" if has_fast_bf16() else "fp32"
