"""What a clip's frames tell before any encode: quantizers, scene cuts, interlacing, damage."""

from dataclasses import dataclass
from math import log2
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type

from leanclips.compression.matroska import ends_early
from leanclips.compression.probe import opened, since_first

# A cut, as FFmpeg's filter scdet has it: percent by which the luma differs from the frame before,
# and by which that difference is a new one.
CUT = 10.0
H264 = 1  # AV_VIDEO_ENC_PARAMS_H264
ROWS = 4


@dataclass(frozen=True)
class Content:
    """`qp` is the mean quantizer on H.264's scale, None where the decoder does not tell it.

    `times` are seconds of each frame, ascending, the first at 0; `cuts` the first frames of new
    scenes; `bits` those of the video track for each pixel shown. In grey levels of the luma:
    `motion` is the mean change to the next frame, `detail` that to the next pixel, `grain` the
    median bend over three pixels, `contrast` the standard deviation.
    """

    times: tuple[float, ...]
    qp: float | None
    bits: float
    motion: float
    detail: float
    grain: float
    contrast: float
    cuts: tuple[int, ...]
    interlaced: bool
    damaged: bool


def examine(path: Path) -> Content:
    """Decode a clip once. StudyError where it cannot be read at all."""
    ticks, quantizers, changes, textures, cuts, size, pixels = [], [], [], [], [], 0, 0
    interlaced, before = False, None
    with opened(path) as (container, stream):
        damaged = ends_early(path)
        stream.codec_context.options = {"export_side_data": "venc_params"}
        for packet in container.demux(stream):
            size += packet.size
            damaged |= packet.is_corrupt
            for frame in packet.decode():
                damaged |= frame.is_corrupt
                interlaced |= frame.interlaced_frame
                quantizers += _quantizer(frame)
                luma = _luma(frame)
                changes.append(_change(before, luma))
                if min(changes[-1], abs(changes[-1] - changes[-2:][0])) >= CUT * 2.55 and ticks:
                    cuts.append(len(ticks))
                before = luma
                textures.append(_texture(luma))
                ticks.append(frame.pts)
                pixels += frame.width * frame.height
        time_base, rate = stream.time_base, stream.average_rate or 25
    times = since_first(ticks, time_base, rate)
    qp = float(np.mean(quantizers)) if quantizers else None
    detail, grain, contrast = np.mean(textures, axis=0).tolist() if textures else (0.0,) * 3
    return Content(tuple(times.tolist()), qp, 8 * size / max(pixels, 1),
                   float(np.mean(changes[1:] or [0.0])), detail, grain, contrast, tuple(cuts),
                   interlaced, damaged)


def _quantizer(frame: av.VideoFrame) -> list[float]:
    found = frame.side_data.get(Type.VIDEO_ENC_PARAMS)
    if found is None or not found.nb_blocks:
        return []
    try:
        mean = float(found.qp_map().mean())
    except RuntimeError:  # an interlaced frame's blocks come in pairs of rows
        return []
    # Other codecs tell the step itself (MPEG-4: twice its quantizer); H.264's QP stands for a
    # step of 2^((QP - 4) / 6).
    return [mean if found.codec_type == H264 else 4 + 6 * log2(max(mean, 1))]


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """Every fourth row: enough to see a cut, and cheap."""
    plane = frame.planes[0]
    # The line size of a picture that is stored bottom-up is negative.
    rows = np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size))
    return rows[:frame.height:ROWS, :frame.width].astype(np.int16)


def _change(before: np.ndarray | None, luma: np.ndarray) -> float:
    if before is None or before.shape != luma.shape or not luma.size:
        return 0.0
    return float(np.abs(luma - before).mean())


def _texture(luma: np.ndarray) -> tuple[float, float, float]:
    """Detail, grain and contrast of a frame's rows."""
    if luma.shape[1] < 3:
        return 0.0, 0.0, 0.0
    slopes = np.diff(luma, axis=1)
    bends = np.abs(np.diff(slopes, axis=1))
    return float(np.abs(slopes).mean()), float(np.median(bends)), float(luma.std())
