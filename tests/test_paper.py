"""The case study's own protocol, from end to end, on a miniature of its data."""

import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from torchvision import models

from leanclips.layout import ROOT, Layout
from leanclips.records import RunResult, read_csv, read_record

SPORTS = ("Archery", "HandstandPushups")
ACTIONS = ("running", "rope jumping")


def ucf101(root, make_clip, ffmpeg):
    """The official layout and lists: Xvid in AVI, 320 × 240 at 25 fps, recording 1 to test on."""
    lists = {"trainlist01": [], "testlist01": []}
    for number, label in enumerate(SPORTS, 1):
        for recording in (1, 2, 3):
            # UCF-101 writes HandstandPushups/v_HandStandPushups_…
            name = f"{label}/v_{label.replace('stand', 'Stand')}_g{recording:02d}_c01.avi"
            clip = make_clip(root / "made.mp4", frames=12, size=(320, 240),
                             seed=number * 10 + recording)
            (root / "UCF-101" / label).mkdir(parents=True, exist_ok=True)
            ffmpeg("-i", clip, "-c:v", "libxvid", "-q:v", 5,
                   root / "UCF-101" / name)
            clip.unlink()
            if recording == 1:
                lists["testlist01"].append(name)
            else:
                lists["trainlist01"].append(f"{name} {number}")
    lists["classInd"] = [f"{number} {label}" for number, label in enumerate(SPORTS, 1)]
    (root / "ucfTrainTestlist").mkdir()
    for name, lines in lists.items():
        (root / "ucfTrainTestlist" / f"{name}.txt").write_text("\r\n".join(lines) + "\r\n")


def targets(root, make_clip):
    """Wide clips of four recordings, and the square region of one of them."""
    for number, label in enumerate(ACTIONS):
        for tape in range(4):
            make_clip(root / "target" / label / f"tape{tape}_1.mp4", frames=12, size=(256, 144),
                      seed=number * 100 + tape)
        make_clip(root / "heldout" / label / "lake_1.mp4", frames=12, size=(256, 144),
                  seed=number * 100 + 90)
    (root / "rois.csv").write_text("file,x,y,side\ntarget/running/tape0_1.mp4,10,4,128\n")


@pytest.mark.slow
def test_the_case_study_s_protocol_runs_from_end_to_end(tmp_path, make_clip, ffmpeg):
    ucf101(tmp_path / "clips", make_clip, ffmpeg)
    targets(tmp_path / "clips", make_clip)
    torch.manual_seed(0)
    torch.save(models.resnet152(weights=None).state_dict(), tmp_path / "resnet152.pth")
    settings = yaml.safe_load((ROOT / "data/paper/study.yml").read_text())
    # Its own, but for the size of the work.
    settings["backbone"] |= {"weights": "../resnet152.pth", "size": 64, "target_size": 96}
    settings["sampling"]["frames"] = 4
    settings["pretraining"]["epochs"] = settings["finetuning"]["epochs"] = 2
    settings["finetuning"]["seeds"] = [1]
    settings["inputs"] = []
    layout = Layout(tmp_path / "paper")
    layout.study.mkdir()
    layout.settings.write_text(yaml.safe_dump(settings))
    shutil.copy(ROOT / "data/paper/table.py", layout.study)

    for verb in (["new", layout.study, "--clips", tmp_path / "clips"], ["check", layout.study],
                 ["run", layout.study]):
        done = subprocess.run([sys.executable, "-m", "leanclips.cli", *map(str, verb)],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    table = read_csv(layout.table)
    assert table["role"].value_counts().to_dict() == {"target": 8, "pretrain": 6, "heldout": 2}
    assert set(table[table["role"] == "pretrain"]["fold"]) == {"train", "validation"}
    pretrained = read_record(layout.pretrain / "result.json", RunResult)
    assert pretrained.classes == SPORTS and not pretrained.leaks_recordings
    assert (pretrained.rounds[0].training, pretrained.rounds[0].validation) == (4, 2)
    for variant in ("source", "optimized", "constant"):
        result = read_record(layout.run(variant, 1) / "result.json", RunResult)
        part, = result.rounds
        assert (part.training, part.validation, part.test) == (6, 2, 2)
        assert result.origin.settings["backbone"]["name"] == "resnet152"
        # ResNet-152's 2,048 features, the case study's network, two classes.
        trained, = result.classifiers["crnn"]
        assert trained.trainable_parameters == 10_006_373 - 99 * 257
        predictions = read_csv(layout.run(variant, 1) / "predictions.csv.gz")
        tested = predictions.query("part == 'test' and input == 'in-order'")
        assert len(tested) == 3 * 2 * (1 + 1 + 2)  # variants, clips; the CRNN's two epochs
