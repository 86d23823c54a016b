"""Where rendered clips take place: noise, coloured surfaces, tiles and a whole still picture."""

import cv2
import numpy as np
from numpy.random import Generator


def place(rng: Generator, height: int, width: int) -> np.ndarray:
    """A still background (height, width, 3), float32 RGB."""
    image, horizon = np.empty((height, width, 3), np.float32), int(height * rng.uniform(0.45, 0.68))
    image[:horizon], floor = (_town, _park)[rng.integers(2)](rng, horizon, width)
    depth = height - horizon
    corners = np.float32([[0, 0], [1080, 0], [0, 720], [1080, 720]])
    seen = np.float32([[-0.05, 0], [1.05, 0], [-0.75, 1], [1.75, 1]]) * np.float32([width, depth])
    image[horizon:] = cv2.warpPerspective(floor, cv2.getPerspectiveTransform(corners, seen),
                                          (width, depth), borderMode=cv2.BORDER_REFLECT)
    shade = 1 + 0.1 * _noise(rng, height, width, 2)
    return np.clip(image * shade[..., None], 0, 255).astype(np.float32)


def _town(rng: Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A wall of bricks, stones or panels with windows and posters, and a tiled floor."""
    wall = surface(rng, height, width, 0.06, 4, ((0, 5, 95), (180, 75, 200)))
    wall = tiled(rng, wall, *rng.integers((8, 20), (100, 80)))
    for _ in range(width // 80):
        w, h = int(rng.integers(18, 90)), int(rng.integers(20, height * 3 // 4))
        x, y = int(rng.integers(width - w)), int(rng.integers(height - h))
        wall[y:y + h, x:x + w] = surface(rng, h, w, 0.2, 4, ((0, 10, 40), (180, 130, 200)))
        cv2.rectangle(wall, (x, y), (x + w, y + h), rng.uniform(30, 230, 3).tolist(), 2)
    floor = surface(rng, 720, 1080, 0.08, 12, ((0, 10, 95), (180, 60, 200)))
    return wall, tiled(rng, floor, *rng.integers((12, 40), (90, 300)))


def _park(rng: Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Trees before the sky, and a meadow or sand."""
    image = surface(rng, height, width, 0.06, 2, ((95, 10, 180), (115, 90, 240)))
    rise = np.linspace(-1.2, 1.8, height, dtype=np.float32)[:, None]
    for depth in range(3):
        leaves = surface(rng, height, width, 0.28, 10, ((28, 50, 95), (62, 150, 200)))
        crowns = np.clip(3 * (_noise(rng, height, width, 3) + rise - 0.4 * depth), 0, 1)[..., None]
        image += crowns * ((0.9 - 0.2 * depth) * leaves - image)
    return image, surface(rng, 720, 1080, 0.2, 8, ((15, 60, 95), (55, 140, 200)))


def _noise(rng: Generator, height: int, width: int, coarse: int) -> np.ndarray:
    """Octaves of noise (height, width), float32, standardized; the coarsest has `coarse` rows."""
    total, size = np.zeros((height, width), np.float32), 1.0
    while coarse < height:
        grid = rng.standard_normal((coarse, max(coarse * width // height, 2)), dtype=np.float32)
        total += size * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        coarse, size = 2 * coarse, 0.75 * size
    return (total - total.mean()) / total.std()


def surface(rng: Generator, height: int, width: int, rough: float, coarse: int,
            colours: tuple) -> np.ndarray:
    """A rough surface (height, width, 3), float32 RGB, of a colour between two HSV (hue 0-180)."""
    pixel = np.uint8([[rng.integers(*colours)]])
    colour = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
    return colour * (1 + rough * _noise(rng, height, width, coarse))[..., None]


def tiled(rng: Generator, image: np.ndarray, tall: int, wide: int) -> np.ndarray:
    """`image` in tiles, each of its own shade, with joints; every other row is shifted."""
    rows, columns = np.ogrid[:image.shape[0], :image.shape[1]]
    along = columns + rows // tall % 2 * wide // 2
    shades = rng.normal(1, 0.08, (image.shape[0] // tall + 1, along.max() // wide + 1))
    shades = shades.astype(np.float32)[rows // tall, along // wide]
    shades[(rows % tall < 1 + tall // 12) | (along % wide < 1 + wide // 30)] *= 0.7
    return image * shades[..., None]
