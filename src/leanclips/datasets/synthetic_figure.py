"""A rendered person: proportions and clothes, joint positions, and drawing.

Body axes: x forward, y up, z to the person's right; lengths in body heights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from leanclips.datasets.synthetic_motion import Pose

_SIDED = ("hip", "knee", "ankle", "heel", "toe", "skirt", "sh", "cuff", "elbow", "wrist", "hand")
_SIDED += ("eye",)
JOINTS = ("pelvis", "waist", "chest", "neck", "head", "face", "hair", "tail")
JOINTS += tuple(name + side for side in "lr" for name in _SIDED)
_INDEX = {name: i for i, name in enumerate(JOINTS)}
FEET = [_INDEX[name] for name in ("heell", "heelr", "toel", "toer")]
_SKIN = (
    (120, 160, 215),
    (150, 185, 235),
    (95, 130, 190),
    (60, 85, 130),
    (45, 60, 95),
    (165, 195, 230),
)
_HAIR = ((20, 22, 28), (30, 45, 75), (60, 110, 165), (40, 60, 120), (130, 130, 130), (25, 30, 45))
_ANGLES = np.linspace(0, 2 * np.pi, 14, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_ALONG, _ACROSS = 96, 48


@dataclass(frozen=True)
class Outline:
    """Convex pieces, each the hull of circles at joints, textured along an axis of two joints.

    Circles of all pieces in one row: `joints` and `radii` (body heights) and `part`, the piece
    they belong to. Pieces: `first` circle, `count` of circles, `axes` (pieces, 2) joints.
    """

    joints: np.ndarray
    radii: np.ndarray
    part: np.ndarray
    first: np.ndarray
    count: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True)
class Person:
    """Segment lengths (body heights), pieces to draw and the texture of each piece."""

    leg: float
    trunk: float
    arm: float
    shoulder: float
    hip: float
    head: float
    outline: Outline
    cloths: tuple[np.ndarray, ...]


_Part = tuple[str, str, Sequence[float], np.ndarray]  # axis, joints, radii, cloth


def person(rng: Generator) -> Person:
    """Draws a person: build, skin, hair, clothes."""
    build = rng.uniform(0.85, 1.3)
    head = rng.uniform(0.062, 0.078)
    parts = _parts(rng, build, head)
    return Person(
        leg=rng.uniform(0.225, 0.25),
        trunk=rng.uniform(0.27, 0.31),
        arm=rng.uniform(0.155, 0.175),
        shoulder=rng.uniform(0.09, 0.115) * (0.6 + 0.4 * build),
        hip=rng.uniform(0.045, 0.06) * (0.6 + 0.4 * build),
        head=head,
        outline=_outline(parts),
        cloths=tuple(cloth for *_, cloth in parts),
    )


def _parts(rng: Generator, build: float, head: float) -> list[_Part]:
    """Pieces in no particular order; clothes decide radii and textures."""
    skin = _cloth(rng, np.array(_SKIN[rng.integers(len(_SKIN))]) * rng.uniform(0.9, 1.08), 0.03)
    hair = _cloth(rng, np.array(_HAIR[rng.integers(len(_HAIR))]) * rng.uniform(0.8, 1.3), 0.25)
    top = _cloth(rng, _dye(rng), 0.1, pattern=rng.integers(0, 6))
    bottom = _cloth(rng, _dye(rng), 0.1, pattern=rng.choice([0, 0, 0, 2, 3, 5]))
    iris = _cloth(rng, rng.uniform(20, 70, 3), 0)
    shoe = _cloth(rng, _dye(rng), 0.08)
    sleeve, trouser = rng.integers(0, 3), rng.integers(0, 3)
    skirt, tail = rng.uniform() < 0.15, rng.uniform() < 0.35
    loose = rng.uniform(1.0, 1.3)
    parts = [
        ("chest waist", "shl shr waist", (0.04, 0.04, 0.07 * build), top),
        ("waist pelvis", "waist hipl hipr", (0.066 * build, 0.055 * build, 0.055 * build), bottom),
        ("chest pelvis", "chest waist", (0.062 * build, 0.07 * build), top),
        ("neck chest", "neck chest", (0.026, 0.03), skin),
        ("head neck", "face", (head,), skin),
        ("head neck", "hair", (head * rng.uniform(1.0, 1.12),), hair),
    ]
    if tail:
        parts.append(("hair tail", "hair tail", (head * 0.5, head * 0.3), hair))
    if skirt:
        radii = [build * size for size in (0.055, 0.055, 0.06, 0.06)]
        parts.append(("pelvis skirtl", "hipl hipr skirtl skirtr", radii, bottom))
    calf = build * (loose if trouser == 2 else 1.0)
    limbs = [
        ("knee", "ankle", 0.038 * calf, 0.024 * calf, bottom if trouser == 2 else skin),
        ("heel", "toe", 0.02, 0.017, shoe),
        ("ankle", "heel", 0.022, 0.02, shoe),
        ("elbow", "wrist", 0.027 * build, 0.02 * build, top if sleeve == 2 else skin),
        ("wrist", "hand", 0.018, 0.02, skin),
        ("eye", "eye", 0.009, 0.009, iris),
    ]
    if trouser:
        limbs.append(("hip", "knee", 0.056 * build * loose, 0.039 * build * loose, bottom))
    else:
        limbs.append(("hip", "skirt", 0.058 * build * loose, 0.054 * build * loose, bottom))
        limbs.append(("skirt", "knee", 0.045 * build, 0.039 * build, skin))
    if sleeve == 1:
        limbs.append(("sh", "cuff", 0.037 * build, 0.035 * build, top))
        limbs.append(("cuff", "elbow", 0.03 * build, 0.026 * build, skin))
    else:
        limbs.append(("sh", "elbow", 0.033 * build, 0.027 * build, top if sleeve else skin))
    for side in "lr":
        for start, end, *radii, cloth in limbs:
            names = f"{start}{side} {end}{side}"
            parts.append((names, names, radii, cloth))
    return parts


def _outline(parts: Sequence[_Part]) -> Outline:
    names = [joints.split() for _, joints, _, _ in parts]
    count = np.array([len(joints) for joints in names])
    return Outline(
        joints=np.array([_INDEX[name] for joints in names for name in joints]),
        radii=np.concatenate([radii for _, _, radii, _ in parts]),
        part=np.arange(len(parts)).repeat(count),
        first=np.cumsum(count) - count,
        count=count,
        axes=np.array([[_INDEX[name] for name in axis.split()] for axis, *_ in parts]),
    )


def _dye(rng: Generator) -> np.ndarray:
    """A clothes colour (BGR, 0..255), from muted to vivid, dark to light."""
    hue, colourful, light = rng.uniform(0, 180), rng.uniform(10, 190), rng.uniform(45, 235)
    pixel = np.array([[[hue, colourful, light]]], dtype=np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(float)


def _cloth(rng: Generator, colour: np.ndarray, fold: float, pattern: int = 0) -> np.ndarray:
    """A limb's texture, (_ACROSS, _ALONG, 3) uint8 BGR: rows cross the limb, darker at its rims."""
    v, u = np.mgrid[0:_ACROSS, 0:_ALONG].astype(np.float32)
    image = np.repeat(np.ones_like(u)[..., None], 3, axis=2) * colour
    second = _dye(rng)
    period = rng.uniform(10, 24)
    stripes = {1: u, 2: v, 4: u + v}
    if pattern in stripes:
        image[(stripes[pattern] // (period / 2)) % 2 == 0] = second
    elif pattern == 3:
        crossed = ((u // (period / 2)) % 2 + (v // (period / 2)) % 2) / 2
        image += (second - colour) * crossed[..., None] * 0.8
    elif pattern == 5:
        blots = cv2.resize(rng.random((6, 12), dtype=np.float32), (_ALONG, _ACROSS))
        image[blots > 0.55] = second
    folds = sum(
        cv2.resize(rng.standard_normal((k, 2 * k), dtype=np.float32), (_ALONG, _ACROSS)) / (k / 4)
        for k in (4, 8, 16)
    )
    across = (v - _ACROSS / 2) / (_ACROSS / 2)
    shade = (1.08 - 0.5 * across**2) * (1 + fold * folds)
    return np.clip(image * shade[..., None], 0, 255).astype(np.uint8)


def _turn(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Rotations about one axis, (n, 3, 3)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    out = np.zeros((len(cos), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = cos
    out[:, i, j], out[:, j, i] = -sin, sin
    return out


def positions(body: Person, pose: Pose) -> np.ndarray:
    """Joint positions (n, joints, 3) in body heights, the lower foot on the ground y = air."""
    n = len(pose["air"])
    at = {}
    down, ahead = np.array([0.0, -1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    across = np.array([0.0, 0.0, 1.0])
    hips = _turn(1, pose["yaw"]) @ _turn(0, 0.35 * pose["sway"])
    chest = hips @ _turn(1, pose["twist"]) @ _turn(2, -pose["lean"]) @ _turn(0, -pose["sway"])
    spine = -(chest @ down)
    at["pelvis"] = np.zeros((n, 3)) + np.outer(pose["shift"], across)
    at["waist"] = at["pelvis"] + 0.35 * body.trunk * (spine * 0.6 - 0.4 * (hips @ down))
    at["chest"] = at["waist"] + 0.6 * body.trunk * spine
    at["neck"] = at["chest"] + 0.09 * spine
    skull = chest @ _turn(1, pose["look"]) @ _turn(2, -pose["nod"])
    front = skull @ ahead
    at["head"] = at["neck"] - 0.85 * body.head * (skull @ down)
    at["face"] = at["head"] + 0.16 * body.head * front
    at["hair"] = at["head"] - body.head * (0.2 * front + 0.28 * (skull @ down))
    at["tail"] = at["hair"] - body.head * (1.0 * front - 1.3 * down)
    raised = {}
    for side, sign in (("l", -1.0), ("r", 1.0)):
        turn = hips @ _turn(1, -sign * pose["hipt" + side]) @ _turn(0, -sign * pose["hipo" + side])
        thigh = turn @ _turn(2, pose["hip" + side])
        shank = thigh @ _turn(2, -pose["knee" + side])
        gaze = 0.72 * front + sign * 0.38 * (skull @ across) - 0.12 * (skull @ down)
        at["eye" + side] = at["face"] + body.head * gaze
        at["hip" + side] = at["pelvis"] + sign * body.hip * (hips @ across) + 0.02 * (hips @ down)
        at["knee" + side] = at["hip" + side] + body.leg * (thigh @ down)
        at["skirt" + side] = at["hip" + side] + 0.62 * body.leg * (thigh @ down)
        at["ankle" + side] = at["knee" + side] + body.leg * (shank @ down)
        raised[side] = shank @ _turn(2, np.full(n, -25.0)) @ ahead
        arm = chest @ _turn(0, -sign * pose["sho" + side]) @ _turn(2, pose["sh" + side])
        fore = arm @ _turn(1, -sign * pose["sht" + side]) @ _turn(2, pose["elbow" + side])
        at["sh" + side] = at["chest"] + sign * body.shoulder * (chest @ across) - 0.005 * spine
        at["elbow" + side] = at["sh" + side] + body.arm * (arm @ down)
        at["cuff" + side] = at["sh" + side] + 0.5 * body.arm * (arm @ down)
        at["wrist" + side] = at["elbow" + side] + 0.9 * body.arm * (fore @ down)
        at["hand" + side] = at["wrist" + side] + 0.035 * (fore @ down)
    lowest = np.minimum(at["anklel"][:, 1], at["ankler"][:, 1])
    flat = hips @ ahead * np.array([1.0, 0.0, 1.0])
    for side in "lr":
        height = at["ankle" + side][:, 1] - lowest + pose["air"]
        lifted = np.clip(height / 0.12, 0, 1)[:, None]
        foot = flat * (1 - lifted) + raised[side] * lifted
        foot /= np.linalg.norm(foot, axis=1, keepdims=True) + 1e-9
        at["heel" + side] = at["ankle" + side] + 0.022 * down - 0.012 * foot
        at["toe" + side] = at["heel" + side] + 0.105 * foot
    joints = np.stack([at[name] for name in JOINTS], axis=1)
    joints[..., 1] += (pose["air"] + 0.018 - joints[:, FEET, 1].min(axis=1))[:, None]
    return joints


def rope(joints: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The skipping rope (n, 24, 3) between the hands, `angle` radians ahead of straight down."""
    left, right = joints[:, _INDEX["handl"]], joints[:, _INDEX["handr"]]
    reach = 0.5 * (left + right)[:, 1].mean() - 0.015
    s = np.linspace(0, np.pi, 24)
    ends = (1 - (1 - np.cos(s))[None, :, None] / 2) * left[:, None]
    ends = ends + (1 - np.cos(s))[None, :, None] / 2 * right[:, None]
    out = np.stack([np.sin(angle), -np.cos(angle), 0 * angle], axis=1)
    return ends + reach * (np.sin(s) ** 0.6)[None, :, None] * out[:, None]


def path(joints: np.ndarray) -> np.ndarray:
    """Ground travel (n, 3) that keeps the standing foot in place, smoothed."""
    feet = joints[:, [_INDEX["heell"], _INDEX["heelr"]]]
    weight = np.exp(-(feet[..., 1] - feet[..., 1].min(axis=1, keepdims=True)) / 0.02)
    weight /= weight.sum(axis=1, keepdims=True)
    step = -(np.diff(feet, axis=0) * weight[:-1, :, None]).sum(axis=1)
    step[:, 1] = 0
    kernel = np.hanning(len(step) // 3 | 1)
    norm = np.convolve(np.ones(len(step)), kernel, mode="same")
    step = np.stack([np.convolve(s, kernel, mode="same") / norm for s in step.T], axis=1)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(step, axis=0)])


def draw(
    layer: np.ndarray,
    alpha: np.ndarray,
    body: Person,
    points: np.ndarray,
    depth: np.ndarray,
    scale: float,
    light: np.ndarray,
) -> None:
    """Draws a person into `layer` (h, w, 3) uint8 and `alpha` (h, w) uint8, both in place.

    `points` (joints, 2) are pixels, `depth` (joints,) grows towards the camera, `scale` is pixels
    per body height and `light` a direction in the image (2,) that the bright side faces.
    """
    # All parts' geometry at once: numpy's cost per call would otherwise exceed the drawing's.
    outline = body.outline
    rims = points[outline.joints][:, None] + (outline.radii * scale)[:, None, None] * _CIRCLE
    first = outline.first
    low = np.floor(np.minimum.reduceat(rims.min(axis=1), first)).astype(int)
    high = np.ceil(np.maximum.reduceat(rims.max(axis=1), first)).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, layer.shape[1::-1])
    near = np.add.reduceat(depth[outline.joints], first) / outline.count
    start = points[outline.axes[:, 0]]
    along = points[outline.axes[:, 1]] - start
    length = np.hypot(along[:, 0], along[:, 1])[:, None]
    along = np.where(length > 1, along / np.maximum(length, 1), (0.0, 1.0))
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    thick = np.maximum.reduceat(outline.radii, first)[:, None] * scale
    aside = np.abs(((rims - start[outline.part][:, None]) * normal[outline.part][:, None]).sum(2))
    width = np.maximum.reduceat(aside.max(axis=1), first)[:, None]
    u = along * (_ALONG - 16) / np.maximum(length, thick)
    v = normal * _ACROSS / 2 / np.maximum(width, 1)
    offset = low - start
    matrices = np.empty((len(first), 2, 3))
    matrices[:, 0, :2], matrices[:, 1, :2] = u, v
    matrices[:, 0, 2] = (u * offset).sum(axis=1) + 8
    matrices[:, 1, 2] = (v * offset).sum(axis=1) + _ACROSS * (0.5 - 0.2 * (normal @ light))
    fixed = np.round((rims - low[outline.part][:, None]) * 16).astype(np.int32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for k in np.argsort(near, kind="stable").tolist():
        (x0, y0), (x1, y1) = low[k].tolist(), high[k].tolist()
        if x0 >= x1 or y0 >= y1:
            continue
        begin = first[k]
        hull = cv2.convexHull(fixed[begin : begin + outline.count[k]].reshape(-1, 2))
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_8, 4)
        patch = cv2.warpAffine(
            body.cloths[k],
            matrices[k],
            (x1 - x0, y1 - y0),
            flags=flags,
            borderMode=cv2.BORDER_REPLICATE,
        )
        cv2.copyTo(patch, mask, layer[y0:y1, x0:x1])
        cv2.copyTo(mask, mask, alpha[y0:y1, x0:x1])
