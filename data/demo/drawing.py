"""The demo's clips, drawn from a seed: synthetic.py beside it renders them.

Every clip depends on the seed and its id alone. A group holds the recordings of one performer in
one place, TAKES of each class, so that the place does not give the class away.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import figure
import numpy as np
from numpy.random import Generator
from scene import place

RECIPE = 3  # raise it when other pictures are drawn
CLASSES = figure.CLASSES
WIDTH, HEIGHT, FRAMES, FPS = 320, 240, 30, 15
SIZE = np.array([WIDTH, HEIGHT])
TAKES = 2  # clips of one class in a group
MARGIN, PAN = 16, 300  # pixels of background beyond the frame, for the shaking, panning camera


@dataclass(frozen=True)
class Shot:
    """Where the performer is in a clip, in pixels, and where the camera looks."""

    points: np.ndarray  # (frames, joints, 2)
    depth: np.ndarray  # (frames, joints), larger is nearer
    camera: np.ndarray  # (frames, 2)
    scale: float  # pixels per body height
    ground: float  # row of the floor below the performer
    roi: tuple[int, int, int]  # left, top and side of the square around it, as marked by hand


def _parse(clip_id: str) -> tuple[str, int]:
    """The label and the number of the group."""
    label, _, number = clip_id.rpartition("-")
    return label, int(number) // TAKES


def _rng(seed: int, *parts: object) -> Generator:
    """Random numbers that depend on the seed and the parts alone."""
    return np.random.default_rng([seed, *"/".join(map(str, parts)).encode()])


def frames(clip_id: str, seed: int) -> Iterator[np.ndarray]:
    """The frames of a clip, (HEIGHT, WIDTH, 3) uint8 RGB."""
    group, at = _parse(clip_id)[1], shot(clip_id, seed)
    body = figure.person(_rng(seed, "person", group))
    still, take = _rng(seed, "place", group), _rng(seed, "film", clip_id)
    background = place(still, HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN + PAN)
    background = cv2.GaussianBlur(background, (0, 0), still.uniform(0.8, 1.4))  # out of focus
    tint = np.float32(still.uniform(0.92, 1.08, 3) * still.uniform(0.7, 1.1))
    soft, noise = take.uniform((0.35, 1.2), (0.8, 5)).tolist()
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    for points, depth, (left, top) in zip(at.points, at.depth, at.camera, strict=True):
        image = cv2.warpAffine(background, np.array([[1, 0, left], [0, 1, top]]), (WIDTH, HEIGHT),
                               flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                               borderMode=cv2.BORDER_REFLECT)
        shadow = ((x - points[figure.FEET, 0].mean()) / 0.2)**2 + ((y - at.ground) / 0.06)**2
        image *= 1 - 0.45 * np.exp(-shadow / at.scale**2)[..., None]
        figure.draw(image, body, points, depth, at.scale)
        image = cv2.GaussianBlur(image * tint, (0, 0), soft)
        grain = take.standard_normal(image.shape, dtype=np.float32)
        image += noise * grain * (0.6 + image / 320)  # a sensor's: stronger in the light
        yield np.clip(image + 0.5, 0, 255).astype(np.uint8)


def shot(clip_id: str, seed: int) -> Shot:
    """Plan a clip: the performer's movement and the camera's."""
    label, group = _parse(clip_id)
    view, take = _rng(seed, "view", group), _rng(seed, "take", clip_id)
    times = np.arange(FRAMES) / FPS
    pose = figure.perform(label, times, _rng(seed, "style", group, label), take)
    # A turn of 0 shows a person who faces right, a quarter turn one who faces the camera.
    turn, tilt = np.radians([view.uniform(-20, 70) + take.uniform(-15, 15), take.uniform(0, 12)])
    turn = np.pi - turn if view.random() < 0.5 else turn
    x, up, z = np.moveaxis(figure.positions(pose), -1, 0)
    right, near = x * np.cos(turn) - z * np.sin(turn), x * np.sin(turn) + z * np.cos(turn)
    points = np.stack([right, near * np.sin(tilt) - up * np.cos(tilt)], axis=-1)
    depth = near * np.cos(tilt) + up * np.sin(tilt)
    points[..., 0] += take.uniform(-0.15, 0.15) * (times / times[-1] - 0.5)[:, None]
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    scale = min(take.uniform(130, 178), *((SIZE - 26) / (high - low)))
    spare = SIZE - 20 - scale * (high - low)
    corner = 10 + spare * take.uniform((0.2, 0.5), (0.8, 0.95)) - scale * low
    shake = np.cumsum(take.normal(0, take.uniform(0.1, 0.7), (FRAMES, 2)), axis=0).clip(-6, 6)
    camera = shake + (MARGIN + PAN / 2, MARGIN)
    camera[:, 0] += take.uniform(-40, 40) * np.linspace(-0.5, 0.5, FRAMES)
    camera[:, 0] += scale * np.cos(turn) * (pose["distance"] - pose["distance"].mean())
    points = points * scale + corner - shake[:, None]
    joints = points[:, :len(figure.BODY)]
    low, high = joints.min(axis=(0, 1)) - 0.06 * scale, joints.max(axis=(0, 1)) + 0.06 * scale
    side = min(2 * round(max(high - low) * take.uniform(1, 1.25) / 2), HEIGHT)
    centre = (low + high) / 2 + take.uniform(-0.02, 0.02, 2) * side
    x, y = np.clip(centre - side / 2, 0, SIZE - side).astype(int) // 2 * 2
    roi = int(x), int(y), side
    return Shot(points.astype(np.float32), depth, camera, scale, corner[1], roi)
