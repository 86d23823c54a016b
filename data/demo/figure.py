"""A rendered person: motions as joint angles, joint positions, and drawing.

Body axes: x forward, y up, z to the person's right. Lengths are in body heights, angles in
degrees. Positive: hip, shoulder and lean forward, knee and elbow bent, `hipo` and `sho` away from
the body, `yaw` and `twist` the right side forward. The suffix l or r names the side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from scene import surface, tiled

Pose = dict[str, np.ndarray]  # each degree of freedom over time, (n,)
_BENT = ("kneel", "kneer", "elbowl", "elbowr")
_ANGLES = ("lean", "sway", "twist", "yaw", *_BENT,
           *(name + side for side in "lr" for name in ("hip", "hipo", "sh", "sho")))
KNOTS = 21
_LIGHT = np.float32([-0.55, -0.5, 0.67])  # towards it: right, down, to the camera
_SIDED = ("hip", "knee", "ankle", "toe", "sh", "elbow", "hand")
BODY = ("pelvis", "chest", "head", "hair", *(name + side for side in "lr" for name in _SIDED))
_INDEX = {name: k for k, name in enumerate((*BODY, *(f"knot{k}" for k in range(KNOTS))))}
FEET = [_INDEX[name] for name in ("anklel", "ankler", "toel", "toer")]

# A fighter's guard, the left side ahead; what strikes and a dance's steps add to the pose.
_GUARD = dict(shl=38, shr=30, elbowl=105, elbowr=120, shol=8, shor=8, hipl=34, hipr=-22, kneel=44,
              kneer=14, hipol=5, hipor=5, lean=6, twist=12)
_STRIKES = (
    dict(shr=60, elbowr=-116, twist=34, lean=6),
    dict(hipr=120, kneer=-10, lean=-24, kneel=-30, hipl=-28, shr=-25, elbowr=-60),
    dict(hipor=79, hipr=57, kneer=-10, sway=-30, yaw=60, kneel=-30, hipl=-28, elbowr=-60))
_STEPS = (
    dict(shol=95, elbowl=20, shor=95, elbowr=20, hipol=14),
    dict(shl=160, elbowl=20, shr=160, elbowr=20, lean=-4),
    dict(hipl=68, kneel=80, shr=75, elbowr=60, shl=-30, elbowl=50),
    dict(hipor=36, shor=130, elbowr=15, sway=-14, elbowl=90, shol=30),
    dict(kneel=55, kneer=55, hipl=45, hipr=45, lean=15, shl=50, shr=50, shol=40, shor=40))


@dataclass(frozen=True)
class Person:
    """The parts to draw: cones with round ends between two joints."""

    ends: np.ndarray  # (parts, 2) joints
    radii: np.ndarray  # (parts, 2) at both ends
    cloths: Sequence[np.ndarray]  # (across, along, 3) float32 RGB


def person(rng: Generator) -> Person:
    """Draw a person: build, skin, hair and clothes."""
    build, head = rng.uniform(0.88, 1.2), rng.uniform(0.062, 0.072)
    skin = surface(rng, 32, 64, 0.02, 4, ((8, 65, 95), (14, 125, 240)))
    hair = surface(rng, 32, 64, 0.2, 4, ((5, 20, 25), (20, 160, 170)))
    top, bottom, shoe, cord = (
        surface(rng, 32, 64, 0.15, 4, ((0, 20, 60), (180, 200, 235))) for _ in range(4))
    if rng.random() < 0.6:
        top = tiled(rng, top, *rng.integers(5, 20, 2))
    sleeve, sock = (cloth if rng.random() < 0.5 else skin for cloth in (top, bottom))
    parts = [("chest", "pelvis", 0.06 * build, 0.055 * build, top),
             ("hipl", "hipr", 0.058 * build, 0.058 * build, bottom),
             ("chest", "head", 0.032, 0.026, skin), ("head", "head", head, head, skin),
             ("hair", "hair", 0.93 * head, 0.93 * head, hair)]
    for s in "lr":
        parts += [("sh" + s, "hip" + s, 0.042 * build, 0.048 * build, top),
                  ("hip" + s, "knee" + s, 0.058 * build, 0.042 * build, bottom),
                  ("knee" + s, "ankle" + s, 0.039 * build, 0.027, sock),
                  ("ankle" + s, "toe" + s, 0.027, 0.02, shoe),
                  ("sh" + s, "elbow" + s, 0.04 * build, 0.03 * build, top),
                  ("elbow" + s, "hand" + s, 0.029 * build, 0.02, sleeve),
                  ("hand" + s, "hand" + s, 0.026, 0.026, skin)]
    parts += [(f"knot{k}", f"knot{k + 1}", 0.008, 0.008, cord) for k in range(KNOTS - 1)]
    start, end, first, last, cloths = zip(*parts, strict=True)
    return Person(np.array([[_INDEX[name] for name in ends] for ends in zip(start, end)]),
                  np.float32([first, last]).T, cloths)


def perform(label: str, times: np.ndarray, style: Generator, take: Generator) -> Pose:
    """The action `label` at `times` (seconds). `style` draws what a performer keeps from clip to
    clip, `take` what changes. `distance` is the way run, `rope` the rope's angle.
    """
    pose = {"hop": 0 * times, "distance": 0 * times}
    for name in _ANGLES:  # nobody repeats a movement exactly
        waves = 2 * np.pi * np.outer(times, take.uniform(0, 1.1, 3)) + take.uniform(0, 6.3, 3)
        pose[name] = 5 * np.sin(waves).sum(axis=1)
    _MOTIONS[label](pose, times, style, take)
    return pose | {name: np.clip(pose[name], 3, 145) for name in _BENT}


def _cycle(times: np.ndarray, rate: float, take: Generator) -> np.ndarray:
    """The phase in radians at about `rate` cycles a second."""
    return 2 * np.pi * (rate * take.uniform(0.9, 1.1) * times + take.random())


def _bounce(pose: Pose, phase: np.ndarray, bend: float, hop: float) -> None:
    """Spring in the knees, with a hop at the top."""
    for side in "lr":
        pose["knee" + side] += bend * (1 - np.cos(phase))
        pose["hip" + side] += 0.55 * bend * (1 - np.cos(phase))
    pose["hop"] += hop * np.maximum(0, np.cos(phase))


def _moves(pose: Pose, times: np.ndarray, take: Generator, moves: Sequence[Mapping[str, float]],
           reach: float, hold: float) -> None:
    """Add `moves` in random order, each reached in `reach` seconds and held for `hold`."""
    keys, time = [], -take.random()
    while time < times[-1]:
        move = moves[take.integers(len(moves))]
        for wait, offsets in ((take.uniform(0.05, 0.25), {}), (reach, move), (hold, move),
                              (reach, {})):
            time += wait
            keys.append((time, offsets))
    for name in set().union(*moves):
        pose[name] += np.interp(times, [time for time, _ in keys],
                                [offsets.get(name, 0) for _, offsets in keys])


def _running(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    rate, elbow, out = style.uniform((1.2, 70, 5), (1.6, 105, 18))
    swing, lift, arms = style.uniform((32, 65, 30), (44, 100, 48)) * take.uniform(0.9, 1.1)
    phase = _cycle(times, rate, take)
    for side, turn in (("l", phase), ("r", phase + np.pi)):
        pose["hip" + side] += 12 + swing * np.sin(turn)
        pose["knee" + side] += 12 + lift * (0.5 + 0.5 * np.cos(turn + 0.35)) ** 1.6
        pose["sh" + side] -= 4 + arms * np.sin(turn)
        pose["elbow" + side] += elbow - 0.3 * arms * np.sin(turn)
        pose["sho" + side] += out
    pose["twist"] += 0.25 * arms * np.sin(phase)
    pose["lean"] += style.uniform(6, 16)
    pose["hop"] += 0.09 * np.maximum(0, -np.cos(2 * phase))
    pose["distance"] = 1.8 * rate * np.sin(np.radians(swing)) * times


def _rope_jumping(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    phase = _cycle(times, style.uniform(1.4, 1.9), take)
    _bounce(pose, phase, take.uniform(5, 11), take.uniform(0.05, 0.09))
    elbow, out, ahead = style.uniform((35, 26, -28), (65, 42, -8))
    for side in "lr":
        pose["sh" + side] += ahead + 6 * np.sin(phase)
        pose["sho" + side] += out + 4 * np.cos(phase)
        pose["elbow" + side] += elbow + 8 * np.cos(phase)
    pose["rope"] = np.degrees(phase)  # 0, below the feet, at the top of the hop


def _martial_arts(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    for name, value in _GUARD.items():
        pose[name] += value + style.normal(0, 4)
    _bounce(pose, _cycle(times, style.uniform(1.4, 2.2), take), style.uniform(2, 7), 0.015)
    _moves(pose, times, take, _STRIKES, style.uniform(0.25, 0.35), 0.05)


def _dancing(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    beat = style.uniform(1.6, 2.2)
    phase = _cycle(times, beat / 2, take)
    _bounce(pose, 2 * phase, style.uniform(3, 8), style.uniform(0, 0.03))
    sway, twist, yaw = style.uniform((4, 5, 10), (11, 18, 45))
    pose["sway"] += sway * np.sin(phase)
    pose["twist"] += twist * np.cos(phase)
    pose["yaw"] += yaw * np.sin(phase / 2 + take.uniform(0, 6))
    for name, low, high in (("hip", 0, 15), ("knee", 5, 30), ("sh", 10, 35), ("sho", 20, 50),
                            ("elbow", 20, 70)):
        for side in "lr":
            pose[name + side] += style.uniform(low, high) + 15 * np.sin(phase + style.uniform(0, 6))
    _moves(pose, times, take, _STEPS, 0.7 / beat, 0.4 / beat)


_MOTIONS = {"running": _running, "martial_arts": _martial_arts, "dancing": _dancing,
            "rope_jumping": _rope_jumping}
CLASSES = tuple(_MOTIONS)


def _turn(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Rotations about one axis, (n, 3, 3), by Rodrigues' formula."""
    angle, cross = np.radians(degrees)[:, None, None], np.cross(np.eye(3)[axis], np.eye(3)).T
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def positions(pose: Pose) -> np.ndarray:
    """The joints (n, joints, 3), and those of a rope if there is one; the lower foot on y = hop."""
    at, (ahead, up, across) = {}, np.eye(3)
    hips = _turn(1, pose["yaw"]) @ _turn(0, 0.35 * pose["sway"])
    trunk = hips @ _turn(1, pose["twist"]) @ _turn(2, -pose["lean"]) @ _turn(0, -pose["sway"])
    at["pelvis"] = 0 * (hips @ up)
    at["chest"] = 0.06 * (hips @ up) + 0.215 * (trunk @ up)
    at["head"] = at["chest"] + trunk @ (0.13 * up + 0.007 * ahead)
    at["hair"] = at["head"] + trunk @ (0.023 * up - 0.028 * ahead)
    for s, sign in (("l", -1), ("r", 1)):
        thigh = hips @ _turn(0, -sign * pose["hipo" + s]) @ _turn(2, pose["hip" + s])
        shank = thigh @ _turn(2, -pose["knee" + s])
        upper = trunk @ _turn(0, -sign * pose["sho" + s]) @ _turn(2, pose["sh" + s])
        fore = upper @ _turn(2, pose["elbow" + s])
        at["hip" + s] = hips @ (sign * 0.052 * across - 0.02 * up)
        at["knee" + s] = at["hip" + s] - 0.24 * (thigh @ up)
        at["ankle" + s] = at["knee" + s] - 0.24 * (shank @ up)
        at["toe" + s] = at["ankle" + s] + shank @ (0.09 * ahead - 0.012 * up)
        at["sh" + s] = at["chest"] + trunk @ (sign * 0.103 * across - 0.01 * up)
        at["elbow" + s] = at["sh" + s] - 0.163 * (upper @ up)
        at["hand" + s] = at["elbow" + s] - 0.175 * (fore @ up)
    joints = np.stack([at[name] for name in BODY], axis=1)
    joints[..., 1] += (pose["hop"] + 0.025 - joints[:, FEET, 1].min(axis=1))[:, None]
    if "rope" not in pose:
        return joints
    part = np.linspace(0, 1, KNOTS)[:, None]
    left, right = joints[:, [_INDEX["handl"]]], joints[:, [_INDEX["handr"]]]
    down = _turn(2, pose["rope"]) @ -up * (left[..., 1].mean() - 0.01)
    bow = np.sin(np.pi * part) ** 0.6 * down[:, None]
    return np.concatenate([joints, left + (right - left) * part + bow], axis=1)


def draw(image: np.ndarray, body: Person, points: np.ndarray, depth: np.ndarray, scale: float
         ) -> None:
    """Draw a person into `image` (h, w, 3), float32.

    `points` (joints, 2) are pixels, float32; `depth` (joints,) grows towards the camera; `scale`
    is pixels per body height.
    """
    count = (body.ends[:, 1] < len(points)).sum()  # the rope's parts are the last
    ends, radii = points[body.ends[:count]], body.radii[:count] * scale
    reach = radii.max(axis=1)[:, None]
    low, high = (np.clip(edge, 0, image.shape[1::-1]).astype(int) for edge in (
        ends.min(axis=1) - reach, ends.max(axis=1) + reach + 2))
    for k in depth[body.ends[:count]].mean(axis=1).argsort(kind="stable"):
        box = slice(low[k, 1], high[k, 1]), slice(low[k, 0], high[k, 0])
        axis = ends[k, 1] - ends[k, 0] + np.float32([0, 1e-3])  # a ball has an axis, too
        length = np.hypot(*axis)
        axis /= length
        y, x = np.ogrid[box]
        x, y = np.float32(x) - ends[k, 0, 0], np.float32(y) - ends[k, 0, 1]
        along, across = x * axis[0] + y * axis[1], y * axis[0] - x * axis[1]
        t = np.clip(along / length, 0, 1)
        radius = radii[k, 0] + (radii[k, 1] - radii[k, 0]) * t
        u, v = (along - t * length) / radius, across / radius
        square = u * u + v * v
        bright = v * (_LIGHT[1] * axis[0] - _LIGHT[0] * axis[1]) + u * (_LIGHT[:2] @ axis)
        bright += _LIGHT[2] * np.sqrt(np.maximum(1 - square, 0))
        rows = np.clip(16 + 16 * v, 0, 31).astype(int)
        columns = np.clip(16 + 32 * t + 16 * u, 0, 63).astype(int)
        colour = body.cloths[k][rows, columns] * (0.5 + 0.6 * bright)[..., None]
        cover = np.clip((1 - np.sqrt(square)) * radius + 0.5, 0, 1)[..., None]
        image[box] += cover * (colour - image[box])
