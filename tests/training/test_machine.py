"""Where and in what precision a study computes: as set, or as the machine does best."""

import subprocess
import sys

import pytest
import torch

from leanclips.errors import StudyError
from leanclips.study import Study
from leanclips.training.machine import Compute, compute, compute_repeatably, keep_freed_memory

HAS = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def computed(device="auto", precision="auto"):
    return compute(Study(title="a", device=device, backbone={"precision": precision}))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_study_yml_names_is_taken(precision):
    assert computed("cpu", precision) == Compute("cpu", precision)
    assert not computed("cpu", precision).is_gpu
    assert computed("auto", precision).precision == precision


def test_auto_takes_the_gpu_where_there_is_one_and_names_its_choice():
    wanted = next((name for name in ("cuda", "mps") if HAS[name]), "cpu")
    assert computed().device == wanted and computed().is_gpu == (wanted != "cpu")
    assert computed().precision in ("fp32", "bf16")


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_told_in_one_sentence(device):
    if HAS[device]:
        assert computed(device).device == device
        return
    with pytest.raises(StudyError, match=f"study.yml: this machine has no device '{device}'; set "
                                         "device to auto or cpu") as error:
        computed(device)
    assert "\n" not in str(error.value)


PROGRAM = """
import torch
from leanclips.study import Study
from leanclips.training.machine import compute

def chosen(device, precision):
    one = compute(Study(title="a", device=device, backbone={"precision": precision}))
    return one.device, one.precision, one.is_gpu

torch.cuda.is_available, torch.backends.mps.is_available = lambda: False, lambda: True
assert chosen("auto", "auto") == ("mps", "fp32", True)
torch.cuda.is_available = lambda: True
torch.cuda.is_bf16_supported = lambda **_: True
assert chosen("auto", "fp32") == ("cuda", "fp32", True)
assert chosen("cuda", "auto") == ("cuda", "bf16", True)
assert chosen("cpu", "bf16") == ("cpu", "bf16", False)
"""


def test_auto_takes_cuda_before_mps_before_the_cpu():
    """On machines with a GPU, as torch would tell of it."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_a_gpu_would_compute_repeatably_and_in_fp32():
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    compute_repeatably()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_memory_can_be_kept_on_any_system():
    keep_freed_memory()
    assert torch.equal(torch.ones(2 ** 20).sum(), torch.tensor(2.0 ** 20))
