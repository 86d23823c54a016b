"""The stages crop and encode: all clips of a variant, their report and its record."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from leanclips.clips import Clip, clips_root, variant_clips, verify_file
from leanclips.compression.batch import RECIPE, ClipJob, make_all
from leanclips.compression.ffmpeg import Encoding, crop_encoder, encode, ffmpeg_version
from leanclips.compression.inspect import probe
from leanclips.compression.optimize import Reason
from leanclips.compression.quality import Goal
from leanclips.compression.search import USUAL_CRF, next_crf_for_bytes
from leanclips.compression.tree import is_video
from leanclips.errors import StudyError
from leanclips.files import file_sha256, key, write_text
from leanclips.layout import Layout
from leanclips.records import (REPORT, Origin, StageRecord, read_csv, versions, write_csv,
                               write_record)
from leanclips.study import ORIGINALS, SOURCE, Constant, External, Optimized, Study, Variant
from leanclips.workers import run_all

SAME_BYTES = 0.01


def make_variant(layout: Layout, study: Study, clips: Sequence[Clip], name: str, jobs: int) -> None:
    """Make one variant, `source` (the crops of all clips) or `originals` of the clips.

    The originals are optimized uncropped, like the first optimized variant.
    Nothing is trained on them: the case study reports this saving beside that on the crops.
    """
    chosen, variant = variant_clips(clips, name), _how(study, name)
    if name in (SOURCE, ORIGINALS):
        root = clips_root(layout, study)
        parents = [verify_file(root, clip) for clip in chosen]
    else:
        parents = [layout.made_clip(SOURCE, clip.id) for clip in chosen]
    origin = report_origin(layout, study, clips, name)
    layout.report_record(name).unlink(missing_ok=True)  # none stands beside other clips
    if isinstance(variant, External):
        hows = [("external", path) for path in paired(layout, variant, chosen)]
    else:
        crf = (find_constant_crf(layout, chosen, name, variant.bytes_of, _encoding(
            study.variants[variant.bytes_of]), jobs) if isinstance(variant, Constant) else 0)
        hows = [how_made(study, name, clip, crf) for clip in chosen]
    made = dict(make_all([
        ClipJob(parent, layout.clip(name, clip.id), layout.clip_record(name, clip.id), how,
                lenient=how[0] == "external")
        for clip, parent, how in zip(chosen, parents, hows, strict=True)], jobs, name))
    table = pd.DataFrame([{"clip": clip.id, "role": str(clip.role), "label": clip.label}
                          | made[n].row(scored=made[n].outcome.reason is not Reason.CROP)
                          for n, clip in enumerate(chosen)], columns=list(REPORT))
    broken = table[table["reason"] == str(Reason.UNREADABLE)]
    if len(broken):
        where = layout.report(name).with_name("broken.csv")
        write_csv(where, broken)
        first = broken.iloc[0]
        raise StudyError(f"{len(broken)} of {len(table)} files of '{name}' cannot stand for "
                         f"their source ({first['clip']}: {first['detail']})", where,
                         "it lists them all: replace those files")
    write_csv(layout.report(name), table)
    write_record(layout.report_record(name), StageRecord(key=origin.key, origin=origin))


def how_made(study: Study, name: str, clip: Clip, crf: float) -> tuple:
    """How the study makes a clip of a variant (batch.ClipJob); a constant variant is at `crf`."""
    variant = _how(study, name)
    if isinstance(variant, Optimized):
        return "optimize", Goal(variant.target, variant.metric), _encoding(variant)
    if isinstance(variant, Constant):
        return "constant", crf, _encoding(study.variants[variant.bytes_of])
    return "crop", clip.roi, clip.frames, crop_encoder()


def _how(study: Study, name: str) -> Variant | None:
    """How a variant is made, the originals like the first optimized one; None for the crops."""
    first = next(made for made in study.variants.values() if isinstance(made, Optimized))
    return {SOURCE: None, ORIGINALS: first, **study.variants}[name]


def report_origin(layout: Layout, study: Study, clips: Sequence[Clip], name: str,
                  reading: bool = False) -> Origin:
    """What a variant's clips are made from; `reading`: less originals, others' files, machine."""
    chosen, variant = variant_clips(clips, name), _how(study, name)
    settings = variant.model_dump(mode="json") if variant else {}
    inputs, machine = {}, {}
    if name in (SOURCE, ORIGINALS):
        cut = name == SOURCE  # the originals stay uncropped
        inputs["the clip table"] = key([[c.id, c.file, c.label, c.role, str(c.roi) if cut else "",
                                         c.frames] for c in chosen])
        if not reading:
            root = clips_root(layout, study)
            inputs["the original clips"] = key([file_sha256(verify_file(root, clip))
                                                for clip in chosen])
    else:
        inputs["the source clips"] = _delivered(layout, SOURCE, chosen)
    if isinstance(variant, Constant):
        settings |= asdict(_encoding(study.variants[variant.bytes_of]))
        inputs[f"the clips of {variant.bytes_of}"] = _delivered(layout, variant.bytes_of, chosen)
    if not reading:
        if isinstance(variant, External):
            inputs["the files"] = key([file_sha256(path)
                                       for path in paired(layout, variant, chosen)])
        machine = {"ffmpeg": ffmpeg_version(), **versions(("av", "opencv-python"))}
        if name == SOURCE:
            machine["encoder"] = crop_encoder()
    return Origin(recipe=RECIPE, settings=settings, inputs=inputs, machine=machine)


def _encoding(variant: Optimized | External) -> Encoding:
    """How a variant is encoded, and the constant one that takes its bytes."""
    if isinstance(variant, External):
        return Encoding("h264")
    return Encoding(variant.codec, variant.keyframes)


def _delivered(layout: Layout, variant: str, clips: Sequence[Clip]) -> str:
    """A hash of the labels, roles and bytes of a variant's clips, as its report has them."""
    report = read_csv(layout.report(variant)).set_index("clip")["sha256"]
    return key([[clip.id, clip.label, clip.role, report.get(clip.id)] for clip in clips])


def report_whole(layout: Layout, variant: str) -> bool:
    """Whether every clip of a variant's report is there with the bytes that it had."""
    report = read_csv(layout.report(variant))
    return all(file_sha256(layout.made_clip(variant, clip)) == sha256
               for clip, sha256 in zip(report["clip"], report["sha256"], strict=True))


def paired(layout: Layout, variant: External, clips: Sequence[Clip]) -> list[Path]:
    """Each clip's video in another tool's folder, by its id; StudyError unless it has just one."""
    folder = layout.study / variant.folder
    wanted, files = {clip.id for clip in clips}, {}
    for path in sorted(folder.rglob("*")):
        if (path.stem in wanted and is_video(path) and path.is_file()
                and files.setdefault(path.stem, path) != path):
            raise StudyError(f"stands for the same clip as {files[path.stem]}", path,
                             "leave one of them in the folder")
    if missing := [clip.id for clip in clips if clip.id not in files]:
        listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise StudyError(f"{len(missing)} of {len(clips)} clips have no file ({listed})", folder,
                         "name each video after its clip's id in clips.csv, with any suffix")
    return [files[clip.id] for clip in clips]


def find_constant_crf(layout: Layout, clips: Sequence[Clip], name: str, bytes_of: str,
                      encoding: Encoding, jobs: int) -> float:
    """The one CRF at which the whole set takes the bytes of variant `bytes_of`, within 1 %.
    StudyError if none comes within 2 %. Sets tried are noted: a stopped search goes on from there.
    """
    goal = read_csv(layout.report(bytes_of))
    parents = [layout.made_clip(SOURCE, clip.id) for clip in clips]
    wanted = key(RECIPE, ffmpeg_version(), asdict(encoding), list(goal["sha256"]),
                 list(read_csv(layout.report(SOURCE))["sha256"]))
    tried = []
    with suppress(OSError, ValueError, KeyError):
        control = json.loads(layout.control(name).read_text())
        if control["key"] == wanted:
            tried = [tuple(trial) for trial in control["sets"]]
    total = int(goal["bytes_out"].sum())
    first = USUAL_CRF if goal["crf"].isna().all() else float(goal["crf"].mean())
    while not tried or abs(tried[-1][1] / total - 1) > SAME_BYTES:
        crf = next_crf_for_bytes(tried, total, first)
        if crf in [trial[0] for trial in tried] or len(tried) >= 12:
            break
        sizes = run_all(partial(_size_at, crf, encoding), parents, jobs, f"{name} at CRF {crf:g}")
        tried.append((crf, sum(sizes)))
        write_text(layout.control(name), json.dumps({"key": wanted, "wanted_bytes": total,
                                                     "sets": tried}, indent=1))
    crf, reached = min(tried, key=lambda trial: abs(trial[1] - total))
    if abs(reached / total - 1) > 2 * SAME_BYTES:
        raise StudyError(f"no constant CRF takes the bytes of '{bytes_of}' within 2 % "
                         f"(nearest: CRF {crf:g})", layout.control(name),
                         f"remove the variant '{name}' from study.yml, or use more clips")
    return crf


def _size_at(crf: float, encoding: Encoding, parent: Path) -> int:
    with TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.mp4"
        encode(parent, candidate, encoding, probe(parent).fps, (crf,))
        return candidate.stat().st_size
