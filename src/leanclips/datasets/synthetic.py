"""Rendered action videos: people in textured places, drawn from a seed alone.

Every clip is a pure function of the seed and its id. The number in an id gives the group (a
performer in a place) and the take, so that a row renders without the rest of the table.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.random import Generator

from leanclips.datasets import synthetic_figure as figure
from leanclips.datasets.synthetic_motion import pose_at
from leanclips.datasets.synthetic_scene import place
from leanclips.errors import StudyError

TARGET_CLASSES: tuple[str, ...] = ("running", "martial_arts", "dancing", "rope_jumping")
PRETRAIN_CLASSES: tuple[str, ...] = ("walking", "waving", "squatting", "jumping_jacks")
_LABELS = TARGET_CLASSES + PRETRAIN_CLASSES

WIDTH, HEIGHT, FRAMES, FPS = 320, 240, 30, 15
TAKES = 2  # clips of one performer in one place
_SUBFRAMES, _ROPES = 4, 3
_FINE = 2  # figures are drawn this many times larger, then averaged down
_MARGIN, _PAN = 16, 200  # background pixels beyond the frame: for shake, for panning


@dataclass(frozen=True)
class Scene:
    """All that determines a clip."""

    label: str
    group: int
    take: int
    seed: int


@dataclass(frozen=True)
class _Actor:
    """A person in motion on the screen: n = frames * sub-frames positions."""

    body: figure.Person
    points: np.ndarray  # (n, joints, 2) pixels
    depth: np.ndarray  # (n, joints), larger is nearer
    scale: float  # pixels per body height
    ground: float  # image row of the floor below
    dye: np.ndarray | None = None  # the rope's colour, BGR
    rope: np.ndarray | None = None  # (n * _ROPES, knots, 2) pixels
    rope_near: np.ndarray | None = None  # (n * _ROPES,) rope nearer than the body


def scene_of(clip: str | Mapping[str, Any], *, seed: int) -> Scene:
    """The scene of a clip id such as 'running-007', or of a table row."""
    name = clip if isinstance(clip, str) else clip["id"]
    label, _, number = name.rpartition("-")
    if label not in _LABELS or not number.isdigit():
        raise StudyError("is not the id of a rendered clip", name,
                         f"use one like {_LABELS[0]}-007, of {', '.join(_LABELS)}")
    block, take = divmod(int(number), TAKES)
    return Scene(label, block * len(_LABELS) + _LABELS.index(label), take, seed)


def table(seed: int = 0, *, target: int, heldout: int, pretrain: int) -> list[dict[str, Any]]:
    """Rows of a study with so many clips per class in each role.

    Keys: id, file, label, group, role, frames, fps (frames per second) and roi ('x y side',
    pixels). A role starts at a fresh group, so an odd count leaves a number out.
    """
    rows = []
    first = 0
    for role, count in (("target", target), ("heldout", heldout), ("pretrain", pretrain)):
        for label in PRETRAIN_CLASSES if role == "pretrain" else TARGET_CLASSES:
            for number in range(first, first + count):
                rows.append(_row(f"{label}-{number:03d}", role, seed))
        first += -(-count // TAKES) * TAKES
    return rows


def _row(clip: str, role: str, seed: int) -> dict[str, Any]:
    scene = scene_of(clip, seed=seed)
    x, y, side = _region(scene)
    return {
        "id": clip,
        "file": f"{clip}.mp4",
        "label": scene.label,
        "group": f"g{scene.group // len(_LABELS):03d}",  # one performer in one place
        "role": role,
        "frames": FRAMES,
        "fps": FPS,
        "roi": f"{x} {y} {side}",
    }


def frames(clip: str | Mapping[str, Any], *, seed: int) -> Iterator[np.ndarray]:
    """The frames of a clip (id or row), each (HEIGHT, WIDTH, 3) uint8 BGR."""
    cv2.setNumThreads(1)
    scene = scene_of(clip, seed=seed)
    actor, camera = _performance(scene)
    still = _block(scene, "place")
    horizon = _horizon(scene)
    canvas = (HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN + _PAN)
    background = place(still, *canvas, horizon + _MARGIN)
    # The camera focuses on the performer; what lies behind is softer and paler.
    background = cv2.GaussianBlur(background, (0, 0), still.uniform(0.9, 1.5))
    background += 0.3 * (background.mean(axis=(0, 1)) - background)
    tint = still.uniform(0.92, 1.08, 3) * still.uniform(0.8, 1.1)
    light = np.array([still.choice([-1.0, 1.0]), -0.6]) / 1.17
    take = _take(scene, "light")
    crowd = [_bystander(still, take, horizon, camera) for _ in range(still.choice([0, 0, 1, 2]))]
    crowd = sorted(crowd, key=lambda other: other.ground)
    times = np.arange(FRAMES) / FPS
    glow = 1 + take.uniform(0, 0.08) * np.sin(times * take.uniform(1, 6) + take.uniform(0, 6))
    soft, noise = take.uniform(0.35, 0.75), take.uniform(1.0, 2.6)
    for index in range(FRAMES):
        shift = np.float64([[1, 0, _MARGIN + camera[index, 0]], [0, 1, _MARGIN + camera[index, 1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(
            background, shift, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        for other in crowd:
            _paint(image, other, index, 2, light)
        _paint(image, actor, index, _SUBFRAMES, light)
        image *= tint * glow[index]
        image = cv2.GaussianBlur(image, (0, 0), soft)
        yield _expose(image, noise, take)


def _expose(image: np.ndarray, noise: float, rng: Generator) -> np.ndarray:
    """Adds sensor noise (stronger in the light, colour noise coarser) and rounds to uint8."""
    grey = rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    colour = rng.standard_normal((HEIGHT // 2, WIDTH // 2, 3), dtype=np.float32)
    grain = 0.7 * cv2.resize(colour, (WIDTH, HEIGHT)) + grey[..., None]
    grain *= noise * (0.6 + 0.4 / 128 * image)
    return np.clip(image + grain + 0.5, 0, 255).astype(np.uint8)


def render(row: str | Mapping[str, Any], path: Path, *, seed: int) -> None:
    """Writes a clip as H.264 in MP4, byte for byte the same each time."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS)]
    command += ["-i", "pipe:0", "-c:v", "libx264", "-preset", "fast", "-crf", "17"]
    command += ["-pix_fmt", "yuv420p", "-threads", "1", "-fflags", "+bitexact"]
    command += ["-flags:v", "+bitexact", "-map_metadata", "-1", "-f", "mp4", str(aside)]
    video = b"".join(frame.tobytes() for frame in frames(row, seed=seed))
    try:
        done = subprocess.run(command, input=video, stderr=subprocess.PIPE)
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace")[-500:].split())
            raise StudyError(f"FFmpeg cannot write the clip ({reason or done.returncode})", path,
                             "see to that, and run the same command again")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _block(scene: Scene, part: str) -> Generator:
    """Draws performer and place, the same for the groups of all classes in a block."""
    return np.random.default_rng([scene.seed, scene.group // len(_LABELS), *part.encode()])


def _group(scene: Scene, part: str) -> Generator:
    """Draws what both takes of a group share."""
    return np.random.default_rng([scene.seed, scene.group, *part.encode()])


def _take(scene: Scene, part: str) -> Generator:
    return np.random.default_rng([scene.seed, scene.group, 1 + scene.take, *part.encode()])


def _horizon(scene: Scene) -> int:
    return int(_block(scene, "horizon").integers(int(0.45 * HEIGHT), int(0.72 * HEIGHT)))


def _times(subframes: int, shutter: float) -> np.ndarray:
    """Sub-frame times (frames * subframes,) in seconds, the shutter open for a part of a frame."""
    return ((np.arange(FRAMES)[:, None] + shutter * np.arange(subframes) / subframes) / FPS).ravel()


def _view(points: np.ndarray, turn: float, tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """Body-axis points (..., 3) as screen points (..., 2), y down, with depth (...) to the camera.

    `turn` 0 shows a person facing right, 90 degrees one facing the camera.
    """
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    right = points[..., 0] * cos - points[..., 2] * sin
    near = points[..., 0] * sin + points[..., 2] * cos
    up = points[..., 1]
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    depth = near * c + up * s
    lens = 1 / (1 - 0.18 * depth)  # the camera stands about five and a half body heights away
    return np.stack([right * lens, (near * s - up * c) * lens], axis=-1), depth


def _performance(scene: Scene) -> tuple[_Actor, np.ndarray]:
    """The performer's positions and the camera's shift of the background (FRAMES, 2) pixels."""
    take = _take(scene, "move")
    body = figure.person(_block(scene, "person"))
    times = _times(_SUBFRAMES, 0.55)
    pose = pose_at(scene.label, times, _group(scene, "style"), take)
    joints = figure.positions(body, pose)
    lens = _take(scene, "camera")
    facing = _block(scene, "facing").choice([0, 180]) + lens.uniform(-10, 10)
    turn = facing + _block(scene, "angle").uniform(-5, 25) * (1 if facing < 90 else -1)
    tilt = lens.uniform(0, 14)
    screen, depth = _view(joints, turn, tilt)
    travel = _view(figure.path(joints), turn, 0)[0][:, 0]
    drift = lens.uniform(-0.15, 0.15) * (times / times[-1] - 0.5)
    trend = np.polyval(np.polyfit(times, travel, 2), times)
    screen[..., 0] += (drift + np.clip(travel - trend, -0.15, 0.15))[:, None]
    cord = None
    near = None
    if "rope" in pose:
        step = np.gradient(pose["rope"])
        angle = (pose["rope"][:, None] + step[:, None] * np.arange(_ROPES) / _ROPES).ravel()
        knots = figure.rope(joints.repeat(_ROPES, axis=0), angle)
        cord, cord_depth = _view(knots, turn, tilt)
        cord[..., 0] += drift.repeat(_ROPES)[:, None]
        near = cord_depth[:, knots.shape[1] // 2] > depth[:, 0].repeat(_ROPES)
    low, high = screen.min(axis=(0, 1)), screen.max(axis=(0, 1))
    room = np.array([HEIGHT, HEIGHT]) - 26.0
    scale = min(lens.uniform(135, 178), *(room / (high - low + 0.05)))
    spare = np.array([WIDTH, HEIGHT]) - 16 - scale * (high - low)
    corner = 8 + spare * [lens.uniform(0.25, 0.75), lens.uniform(0.45, 0.95)] - scale * low
    follow = np.clip(-trend * scale, -_PAN * 0.6, _PAN * 0.6)[::_SUBFRAMES]
    camera = np.stack([follow - follow.mean(), np.zeros(FRAMES)], axis=1) * -1
    camera[:, 0] += _PAN / 2 + lens.uniform(-40, 40) * np.linspace(-0.5, 0.5, FRAMES)
    shake = np.cumsum(lens.normal(0, lens.uniform(0.1, 0.7), (FRAMES, 2)), axis=0)
    shake = np.clip(shake - shake.mean(axis=0), -6, 6)
    camera += shake
    jitter = -shake.repeat(_SUBFRAMES, axis=0)[:, None]
    actor = _Actor(
        body=body,
        points=screen * scale + corner + jitter,
        depth=depth,
        scale=scale,
        ground=float(corner[1]),
        dye=_block(scene, "rope").uniform(30, 225, 3),
        rope=None if cord is None else cord * scale + corner + jitter.repeat(_ROPES, axis=0),
        rope_near=near,
    )
    return actor, camera


def _bystander(still: Generator, take: Generator, horizon: int, camera: np.ndarray) -> _Actor:
    """Someone further away who stands or walks past, fixed to the moving background."""
    body = figure.person(still)
    walks = still.uniform() < 0.6
    times = _times(2, 0.55)
    pose = pose_at("walking" if walks else "standing", times, still, take)
    turn = still.choice([0, 180]) + still.uniform(-50, 50)
    screen, depth = _view(figure.positions(body, pose), turn, 4)
    scale = still.uniform(55, 105)
    ground = horizon + 0.55 * scale * still.uniform(0.1, 0.5)
    pace = scale * (0.75 if walks else 0.0) * np.cos(np.radians(turn))
    at = take.uniform(0, WIDTH) + pace * (times - times.mean())
    moved = -(camera - camera.mean(axis=0)).repeat(2, axis=0)
    corner = np.stack([at, np.full(len(at), ground)], axis=1) + moved
    return _Actor(body, screen * scale + corner[:, None], depth, scale, ground)


def _region(scene: Scene) -> tuple[int, int, int]:
    """x, y and side of a square around all of the performer's movement, as if marked by hand."""
    actor, _ = _performance(scene)
    rng = _take(scene, "region")
    low = actor.points.min(axis=(0, 1)) - 0.05 * actor.scale
    high = actor.points.max(axis=(0, 1)) + 0.05 * actor.scale
    side = max(high - low) * rng.uniform(1.0, 1.1)
    side = int(min(np.ceil(side / 2) * 2, WIDTH, HEIGHT))
    corner = (low + high) / 2 - side / 2 + rng.uniform(-0.02, 0.02, 2) * side
    x, y = (
        int(np.clip(c, 0, size - side)) // 2 * 2
        for c, size in zip(corner, (WIDTH, HEIGHT), strict=True)
    )
    return x, y, side


def _paint(image: np.ndarray, actor: _Actor, index: int, subframes: int, light: np.ndarray) -> None:
    """Draws an actor into a float32 frame, averaged over the sub-frames, with a soft shadow."""
    steps = range(index * subframes, (index + 1) * subframes)
    points = actor.points[steps.start : steps.stop]
    pad = 0.12 * actor.scale
    low = np.maximum(np.floor(points.min(axis=(0, 1)) - pad).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=(0, 1)) + pad).astype(int), (WIDTH, HEIGHT))
    width, height = high - low
    _shadow(image, actor, points)
    if width > 0 and height > 0:
        colour = np.zeros((height, width, 3), np.float32)
        cover = np.zeros((height, width), np.float32)
        for step in steps:
            layer = np.zeros((height * _FINE, width * _FINE, 3), np.uint8)
            alpha = np.zeros(layer.shape[:2], np.uint8)
            at = (actor.points[step] - low) * _FINE
            figure.draw(layer, alpha, actor.body, at, actor.depth[step], actor.scale * _FINE, light)
            size = (int(width), int(height))
            cv2.accumulate(cv2.resize(layer, size, interpolation=cv2.INTER_AREA), colour)
            cv2.accumulate(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), cover)
        if actor.rope is not None:
            _cord(image, actor, index, near=False)
        window = image[low[1] : high[1], low[0] : high[0]]
        window *= 1 - cover[..., None] / (255 * subframes)
        window += colour / subframes
        if actor.rope is not None:
            _cord(image, actor, index, near=True)


def _shadow(image: np.ndarray, actor: _Actor, points: np.ndarray) -> None:
    """Darkens the floor under the feet."""
    feet = points[:, figure.FEET].mean(axis=(0, 1))
    size = 0.16 * actor.scale
    y0, y1 = (int(np.clip(actor.ground + s * 0.3 * size, 0, HEIGHT)) for s in (-3, 4))
    x0, x1 = (int(np.clip(feet[0] + s * size, 0, WIDTH)) for s in (-3, 4))
    rows = (np.arange(y0, y1, dtype=np.float32) - actor.ground) / (0.3 * size)
    columns = (np.arange(x0, x1, dtype=np.float32) - feet[0]) / size
    dark = np.exp(-np.add.outer(rows**2, columns**2))
    image[y0:y1, x0:x1] *= 1 - 0.42 * dark[..., None]


def _cord(image: np.ndarray, actor: _Actor, index: int, *, near: bool) -> None:
    """Draws the swept rope's part in front of or behind the performer."""
    count = _SUBFRAMES * _ROPES
    swept = np.zeros((HEIGHT, WIDTH), np.float32)
    line = np.zeros((HEIGHT, WIDTH), np.uint8)
    for step in range(index * count, (index + 1) * count):
        if actor.rope_near[step] == near:
            line[:] = 0
            knots = np.round(actor.rope[step] * 16).astype(np.int32)
            cv2.polylines(line, [knots], False, 255, 2, cv2.LINE_AA, 4)
            cv2.accumulate(line, swept)
    opacity = (swept / (255 * count))[..., None]
    image *= 1 - opacity
    image += opacity * actor.dye
