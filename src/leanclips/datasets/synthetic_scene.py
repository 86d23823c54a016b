"""Procedural places: walls, trees, windows and floors with camera-like texture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator


def fractal(
    rng: Generator,
    height: int,
    width: int,
    *,
    coarse: int = 3,
    fall: float = 0.6,
    squeeze: float = 1,
) -> np.ndarray:
    """Noise of several octaves (height, width) float32, about zero mean and unit deviation.

    `coarse` is the coarsest octave's cells over the height, `fall` each finer octave's amplitude,
    `squeeze` > 1 makes the grain taller than wide.
    """
    total = np.zeros((height, width), np.float32)
    cells, size = coarse, 1.0
    while cells < height:
        across = max(2, min(width, int(cells * squeeze * width / height)))
        grid = rng.standard_normal((max(2, cells), across), dtype=np.float32)
        total += size * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, size = cells * 2, size * fall
    return (total - total.mean()) / (total.std() + 1e-6)


def place(rng: Generator, height: int, width: int, horizon: int) -> np.ndarray:
    """A still background (height, width, 3) float32 BGR: upright things above `horizon`."""
    wall, floors = _PLACES[rng.integers(len(_PLACES))]
    image = np.empty((height, width, 3), np.float32)
    image[:horizon] = wall(rng, horizon, width)
    floor = floors[rng.integers(len(floors))]
    image[horizon:] = _perspective(floor(rng, 360), height - horizon, width)
    shade = 1 + 0.1 * fractal(rng, height, width, coarse=2, fall=0.4)
    rows = np.arange(height, dtype=np.float32) - horizon
    shade *= (1 - 0.35 * np.exp(-np.abs(rows) / 7))[:, None]
    return np.clip(image * shade[..., None], 0, 255)


def _perspective(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    """A square ground texture seen at a low angle, its far edge on the horizon."""
    size = tile.shape[0]
    far = np.float32([[-0.05 * width, 0], [1.05 * width, 0]])
    near = np.float32([[-0.75 * width, height], [1.75 * width, height]])
    corners = np.float32([[0, 0], [size * 3, 0], [0, size * 2], [size * 3, size * 2]])
    matrix = cv2.getPerspectiveTransform(corners, np.concatenate([far, near]))
    return cv2.warpPerspective(tile, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _colour(rng: Generator, hues: tuple[float, float], full: tuple[float, float]) -> np.ndarray:
    """A BGR colour (3,) of middle brightness; hue 0..180 and saturation 0..255 in the ranges."""
    pixel = np.array(
        [[[rng.uniform(*hues) % 180, rng.uniform(*full), rng.uniform(95, 200)]]], np.uint8
    )
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)


def _grain(colour: np.ndarray, noise: np.ndarray, size: float) -> np.ndarray:
    return colour * (1 + size * noise)[..., None]


def _bricks(rng: Generator, height: int, width: int) -> np.ndarray:
    """Courses of bricks or blocks, each of its own shade, with mortar."""
    course, length = int(rng.integers(8, 20)), int(rng.integers(20, 50))
    image = _grain(_colour(rng, (-8, 22), (20, 150)), fractal(rng, height, width, coarse=8), 0.1)
    rows, columns = np.mgrid[0:height, 0:width]
    row = rows // course
    along = columns + (row % 2) * (length // 2)
    shades = rng.normal(1, 0.12, (height // course + 2, width // length + 3)).astype(np.float32)
    image *= shades[row, along // length][..., None]
    joint = (rows % course < 2) | (along % length < 2)
    image[joint] = image[joint] * 0.4 + 0.6 * rng.uniform(110, 190)
    return _hang(rng, image)


def _plaster(rng: Generator, height: int, width: int) -> np.ndarray:
    """A painted wall with a darker lower band, panel joints and things hung on it."""
    image = _grain(_colour(rng, (0, 180), (5, 80)), fractal(rng, height, width, coarse=4), 0.06)
    image[int(height * rng.uniform(0.55, 0.8)) :] *= _colour(rng, (0, 180), (10, 120)) / 200
    for x in range(int(rng.integers(0, 80)), width, int(rng.integers(60, 140))):
        image[:, x : x + 2] *= 0.75
    return _hang(rng, image)


def _curtain(rng: Generator, height: int, width: int) -> np.ndarray:
    folds = fractal(rng, 4, width, coarse=1, fall=0.9)[0] + np.sin(
        np.arange(width) / rng.uniform(4, 9) + fractal(rng, 4, width, coarse=1)[0]
    )
    image = _grain(_colour(rng, (0, 180), (40, 170)), np.tile(folds, (height, 1)), 0.18)
    return image * (1 + 0.05 * fractal(rng, height, width, coarse=24))[..., None]


def _hang(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Adds windows, doors and posters: textured rectangles with frames and bars."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(3, 9)):
        w, h = int(rng.integers(18, 90)), int(rng.integers(20, max(21, height * 3 // 4)))
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, max(1, height - h)))
        inside = _grain(_colour(rng, (0, 180), (10, 170)), fractal(rng, h, w, coarse=3), 0.2)
        inside *= rng.uniform(0.35, 1.15)
        bars = int(rng.integers(0, 4))
        for k in range(1, bars + 1):
            inside[:, k * w // (bars + 1)] = inside[h // 2, :] = rng.uniform(150, 220)
        cv2.rectangle(inside, (0, 0), (w - 1, h - 1), rng.uniform(30, 230, 3).tolist(), 2)
        image[y : y + h, x : x + w] = inside
    return image


def _foliage(rng: Generator, height: int, width: int) -> np.ndarray:
    """Trees and shrubs in front of the sky, lit from above."""
    light = np.linspace(1.1, 0.85, height, dtype=np.float32)[:, None]
    sky = _colour(rng, (95, 120), (10, 90)) * rng.uniform(1.0, 1.25)
    image = _grain(sky, 0.5 * fractal(rng, height, width, coarse=2, fall=0.5), 0.1)
    for depth in range(3):
        leaf = _colour(rng, (28, 62), (50, 140)) * (0.85 - 0.16 * depth)
        crown = fractal(rng, height, width, coarse=3, fall=0.75)
        crown += np.linspace(-1.2, 1.8 - 0.4 * depth, height, dtype=np.float32)[:, None]
        texture = fractal(rng, height, width, coarse=10, fall=0.9)
        cover = np.clip((crown - 0.2) * 3, 0, 1)[..., None]
        image = image * (1 - cover) + cover * _grain(leaf, texture, 0.28) * light[..., None]
    for _ in range(rng.integers(1, 7)):
        x, w = int(rng.integers(0, width - 20)), int(rng.integers(4, 17))
        bark = _grain(_colour(rng, (8, 20), (30, 110)), fractal(rng, height, w, coarse=9), 0.25)
        round_ = 0.75 - 0.35 * np.linspace(-1, 1, w, dtype=np.float32) ** 2
        top = int(rng.integers(0, height // 2))
        image[top:, x : x + w] = (bark * round_[None, :, None])[top:]
    return image


def _facade(rng: Generator, height: int, width: int) -> np.ndarray:
    """Houses with rows of windows, and cars parked in front."""
    image = np.empty((height, width, 3), np.float32)
    x = 0
    while x < width:
        w = min(int(rng.integers(70, 190)), width - x)
        house = _grain(_colour(rng, (0, 180), (5, 110)), fractal(rng, height, w, coarse=5), 0.09)
        step, size = int(rng.integers(24, 42)), int(rng.integers(12, 22))
        storey = int(rng.integers(36, 58))
        for y in range(int(rng.integers(-20, 10)), height - 26, storey):
            for at in range(6, w - size, step):
                pane = _colour(rng, (90, 125), (10, 110)) * rng.uniform(0.25, 0.9)
                cv2.rectangle(house, (at, y), (at + size, y + storey * 2 // 3), pane.tolist(), -1)
                cv2.rectangle(house, (at, y), (at + size, y + storey * 2 // 3), (215, 220, 220), 1)
                cv2.line(
                    house, (at + size // 2, y), (at + size // 2, y + storey * 2 // 3), (200,) * 3
                )
        house[:, :2] *= 0.6
        image[:, x : x + w] = house
        x += w
    for _ in range(rng.integers(0, 4)):
        x, w, h = int(rng.integers(0, width)), int(rng.integers(70, 110)), int(rng.integers(14, 20))
        paint = _colour(rng, (0, 180), (10, 190))
        hull = [(0, 0), (0, -h), (w // 6, -h), (w // 3, -2 * h), (w * 2 // 3, -2 * h)]
        hull += [(w * 5 // 6, -h), (w, -h + 2), (w, 0)]
        shape = np.array(hull) + (x, height - 4)
        cv2.fillPoly(image, [shape.astype(np.int32)], paint.tolist(), cv2.LINE_AA)
        glass = np.array(
            [(w // 4, -h), (w // 3 + 2, -2 * h + 3), (w * 2 // 3 - 2, -2 * h + 3), (w * 3 // 4, -h)]
        ) + (x, height - 4)
        cv2.fillPoly(image, [glass.astype(np.int32)], (70, 60, 55), cv2.LINE_AA)
        for wheel in (w // 5, w * 4 // 5):
            cv2.circle(image, (x + wheel, height - 5), 6, (28, 28, 28), -1, cv2.LINE_AA)
            cv2.circle(image, (x + wheel, height - 5), 2, (140, 140, 140), -1, cv2.LINE_AA)
    return image


def _grass(rng: Generator, size: int) -> np.ndarray:
    noise = fractal(rng, size, size, coarse=4, fall=0.85)
    return _grain(_colour(rng, (28, 55), (60, 140)) * 0.85, noise, 0.2)


def _asphalt(rng: Generator, size: int) -> np.ndarray:
    image = _grain(
        _colour(rng, (0, 180), (0, 30)), fractal(rng, size, size, coarse=4, fall=0.85), 0.1
    )
    for _ in range(rng.integers(0, 3)):
        a, b = rng.integers(0, size, 2), rng.integers(0, size, 2)
        cv2.line(image, a.tolist(), b.tolist(), rng.uniform(150, 230, 3).tolist(), 5, cv2.LINE_AA)
    return image


def _boards(rng: Generator, size: int) -> np.ndarray:
    """A wooden sports floor with painted lines."""
    image = _grain(_colour(rng, (9, 22), (50, 140)), fractal(rng, size, size, squeeze=6), 0.07)
    width = int(rng.integers(9, 18))
    image *= rng.normal(1, 0.06, size // width + 1).repeat(width)[:size, None]
    image[:, ::width] *= 0.7
    for _ in range(rng.integers(0, 4)):
        x, y, r = rng.integers(0, size), rng.integers(0, size), int(rng.integers(30, 160))
        paint = rng.uniform(20, 240, 3).tolist()
        if rng.uniform() < 0.5:
            cv2.circle(image, (int(x), int(y)), r, paint, 5, cv2.LINE_AA)
        else:
            cv2.line(image, (0, int(y)), (size, int(y)), paint, 5)
    return image


def _slabs(rng: Generator, size: int) -> np.ndarray:
    step = int(rng.integers(24, 60))
    image = _grain(
        _colour(rng, (0, 180), (0, 50)), fractal(rng, size, size, coarse=6, fall=0.8), 0.08
    )
    count = size // step + 1
    shades = rng.normal(1, 0.07, (count, count)).repeat(step, 0).repeat(step, 1)[:size, :size]
    image *= shades[..., None]
    image[::step] *= 0.7
    image[:, ::step] *= 0.7
    return image


def _sand(rng: Generator, size: int) -> np.ndarray:
    noise = fractal(rng, size, size, coarse=4, fall=0.8)
    return _grain(_colour(rng, (8, 24), (30, 100)), noise, 0.12)


_Wall = Callable[[Generator, int, int], np.ndarray]
_Floor = Callable[[Generator, int], np.ndarray]
_PLACES: tuple[tuple[_Wall, tuple[_Floor, ...]], ...] = (
    (_bricks, (_slabs, _asphalt, _grass)),
    (_foliage, (_grass, _sand, _asphalt)),
    (_plaster, (_boards, _slabs)),
    (_facade, (_asphalt, _slabs)),
    (_curtain, (_boards,)),
    (_foliage, (_grass, _slabs)),
)
