"""Joint-angle curves of the rendered actions.

A pose is a dict from degree of freedom to an array over time, shape (n,). Angles are degrees,
lengths are body heights. Positive: hip, shoulder and lean forward, knee and elbow bent, `hipo`
and `sho` away from the body, `hipt` and `sht` turned outwards. Suffix l or r names the side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.random import Generator

Pose = dict[str, np.ndarray]

_TRUNK = ("air", "yaw", "lean", "sway", "twist", "nod", "look", "shift")
_LIMBS = ("hip", "hipo", "hipt", "knee", "sh", "sho", "sht", "elbow")
DEGREES = _TRUNK + tuple(limb + side for side in "lr" for limb in _LIMBS)
_WANDERS = {"air": 0.0, "shift": 0.0, "yaw": 12.0}  # drift of a joint, else 4 degrees

# One key pose: the degrees of freedom that differ from the pose it is blended into. `f` is the
# leading side and `b` the other; they are replaced by l and r when the key pose is used.
_STRIKES: tuple[tuple[tuple[float, Mapping[str, float]], ...], ...] = (
    ((0.5, {"shf": 82, "elbowf": 8, "shof": 4, "twist": 22, "lean": 8}),),
    ((0.5, {"shb": 84, "elbowb": 8, "shob": 4, "twist": -34, "lean": 10, "hipb": -22}),),
    ((0.5, {"shb": 70, "shob": 55, "elbowb": 70, "twist": -42, "sway": 6}),),
    ((0.5, {"shf": 120, "elbowf": 70, "shof": 20, "lean": 2, "kneef": 30, "kneeb": 36}),),
    (
        (0.3, {"hipb": 78, "kneeb": 100, "lean": -2, "kneef": 14}),
        (0.5, {"hipb": 88, "kneeb": 8, "lean": -16, "kneef": 10, "shb": 10, "elbowb": 60}),
        (0.72, {"hipb": 70, "kneeb": 95, "lean": -2}),
    ),
    (
        (0.32, {"hipob": 62, "hipb": 40, "kneeb": 100, "sway": 16, "yaw": 35}),
        (0.5, {"hipob": 78, "hipb": 40, "kneeb": 10, "sway": 26, "yaw": 60, "shob": 35}),
        (0.7, {"hipob": 55, "hipb": 45, "kneeb": 90, "sway": 10, "yaw": 30}),
    ),
    (
        (
            0.5,
            {"hipb": 95, "kneeb": 112, "lean": 4, "shf": 60, "shb": 60, "elbowf": 80, "air": 0.03},
        ),
    ),
    (
        (
            0.5,
            {
                "hipf": 38,
                "kneef": 62,
                "hipb": -22,
                "kneeb": 20,
                "shof": 50,
                "shf": 30,
                "elbowf": 20,
            },
        ),
    ),
)

_KICKS = (4, 7)  # a range of _STRIKES

_FIGURES: tuple[Mapping[str, float], ...] = (
    {"shof": 85, "elbowf": 25, "shob": 85, "elbowb": 25, "hipof": 14},
    {"shf": 155, "elbowf": 25, "shb": 155, "elbowb": 25, "lean": -4},
    {"shof": 150, "shob": 110, "elbowf": 30, "elbowb": 40, "kneef": 25, "hipf": 15},
    {"hipf": 70, "kneef": 80, "shb": 70, "elbowb": 70, "shf": -30, "elbowf": 50},
    {"hipf": 60, "kneef": 12, "shof": 60, "shob": 60, "lean": -8},
    {"hipof": 34, "shof": 120, "elbowf": 20, "sway": 14, "elbowb": 90, "shob": 30},
    {"twist": 30, "shof": 130, "elbowf": 15, "hipob": 18, "kneeb": 25, "shb": -20},
    {"hipb": -28, "kneeb": 65, "hipf": 12, "kneef": 18, "shf": 45, "elbowf": 90, "shb": -35},
    {"kneef": 55, "kneeb": 55, "hipf": 45, "hipb": 45, "lean": 18, "shf": 40, "shb": 40},
    {"sway": -12, "elbowf": 100, "shof": 25, "elbowb": 100, "shob": 25, "air": 0.04},
    {"yaw": 50, "shof": 60, "elbowf": 60, "shob": 40, "elbowb": 100},
)


def pose_at(label: str, times: np.ndarray, style: Generator, take: Generator) -> Pose:
    """The action `label` at `times` (seconds, shape (n,)).

    `style` draws what a performer keeps between clips, `take` what changes from clip to clip.
    """
    pose = {name: np.zeros(len(times)) for name in DEGREES}
    _MOVES[label](pose, times, style, take)
    for name in DEGREES:
        pose[name] += _WANDERS.get(name, 4.0) * _wander(times, take)
    for side in "lr":
        pose["knee" + side] = np.maximum(pose["knee" + side], 1.0)
        pose["elbow" + side] = np.maximum(pose["elbow" + side], 2.0)
    pose["air"] = np.maximum(pose["air"], 0.0)
    return pose


def _wander(times: np.ndarray, rng: Generator) -> np.ndarray:
    """A slow curve of unit size: no one repeats a movement exactly."""
    rates = rng.uniform(0.2, 1.1, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * np.outer(times, rates) + phases).sum(axis=1) / np.sqrt(1.5)


def _cycle(times: np.ndarray, rate: float, take: Generator) -> np.ndarray:
    """Phase in radians at about `rate` cycles a second, with this take's own tempo and start."""
    tempo = rate * take.uniform(0.88, 1.12)
    return 2 * np.pi * (tempo * times + take.uniform()) + 0.12 * _wander(times, take)


def _keys(pose: Pose, times: np.ndarray, keys: Sequence[tuple[float, Mapping[str, float]]]) -> None:
    """Adds key poses (time, offsets) to `pose`, easing from each to the next."""
    at = np.array([time for time, _ in keys])
    after = np.clip(np.searchsorted(at, times), 1, len(at) - 1)
    part = np.clip((times - at[after - 1]) / (at[after] - at[after - 1]), 0, 1)
    ease = part * part * (3 - 2 * part)
    for name in {name for _, offsets in keys for name in offsets}:
        values = np.array([offsets.get(name, 0.0) for _, offsets in keys])
        pose[name] += values[after - 1] * (1 - ease) + values[after] * ease


def _sided(offsets: Mapping[str, float], lead: str, size: float) -> dict[str, float]:
    """Key pose offsets with leading and other side named, scaled, mirrored for a right lead."""
    sides = {"f": lead, "b": "l" if lead == "r" else "r"}
    mirror = -1.0 if lead == "r" else 1.0
    named = {}
    for name, value in offsets.items():
        limb = name not in _TRUNK
        turned = mirror if name in ("yaw", "sway", "twist") else 1.0
        named[name[:-1] + sides[name[-1]] if limb else name] = value * size * turned
    return named


def _stride(
    pose: Pose, phase: np.ndarray, *, swing: float, centre: float, lift: float, arms: float
) -> None:
    """Alternating legs and opposed arms; hip `swing` about `centre`, knee `lift`."""
    for side, shifted in (("l", phase), ("r", phase + np.pi)):
        pose["hip" + side] += centre + swing * np.sin(shifted)
        pose["knee" + side] += 12 + lift * (0.5 + 0.5 * np.cos(shifted + 0.35)) ** 1.6
        pose["sh" + side] += -arms * np.sin(shifted) - 4
        pose["elbow" + side] += -0.3 * arms * np.sin(shifted)
    pose["twist"] += 0.25 * arms * np.sin(phase)
    pose["sway"] += 2.5 * np.cos(phase)


def _running(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    phase = _cycle(times, style.uniform(1.15, 1.6), take)
    high = style.uniform(0, 1) * style.integers(0, 2)
    size = take.uniform(0.8, 1.1)
    swing = size * style.uniform(32, 46) * (1 - 0.2 * high)
    _stride(
        pose,
        phase,
        swing=swing,
        centre=10 + 18 * high,
        lift=size * style.uniform(65, 100),
        arms=size * style.uniform(28, 50),
    )
    # Legs apart are shorter: without the drop made up for, the hips would sink in flight.
    flight = style.uniform(0.02, 0.05) + 0.3 * (1 - np.cos(np.radians(swing)))
    pose["air"] += flight * np.maximum(0, -np.cos(2 * phase))
    pose["lean"] += style.uniform(4, 15)
    elbow, out = style.uniform(55, 105), style.uniform(4, 22)
    for side in "lr":
        pose["elbow" + side] += elbow
        pose["sho" + side] += out
        pose["sht" + side] += style.uniform(-35, 10)


def _rope_jumping(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    phase = _cycle(times, style.uniform(1.5, 2.3), take)
    hop = np.maximum(0, np.sin(phase))
    pose["air"] += take.uniform(0.03, 0.085) * hop
    bend = take.uniform(10, 24) * (1 - np.sin(phase)) / 2
    tuck = style.uniform(0, 25) * hop
    step = style.uniform() < 0.1
    if step:
        _stride(
            pose,
            phase / 2,
            swing=style.uniform(12, 24),
            centre=14,
            lift=take.uniform(35, 75),
            arms=0,
        )
    elbow, out, roll = style.uniform(45, 90), style.uniform(12, 30), style.uniform(20, 55)
    for side in "lr":
        pose["hip" + side] += 4 + 0.55 * bend + 0.5 * tuck
        pose["knee" + side] += 6 + bend + tuck
        pose["hipo" + side] += style.uniform(0, 3)
        pose["sh" + side] += -8 + 7 * np.cos(phase)
        pose["sho" + side] += out + 5 * np.sin(phase)
        pose["sht" + side] += roll
        pose["elbow" + side] += elbow + 9 * np.sin(phase)
    pose["lean"] += style.uniform(-3, 9) + 2 * np.sin(phase)
    # The rope passes under the feet (angle 0) in mid-air, once a hop.
    pose["rope"] = phase - np.pi / 2


def _martial_arts(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    lead = "lr"[style.integers(0, 2)]
    _stance(pose, lead, style)
    bounce = _cycle(times, style.uniform(1.3, 2.2), take)
    _bounce(pose, bounce, style.uniform(2, 9), style.uniform(0, 0.025))
    # At least one kick: punches alone are too few a dancer does not share.
    known = [style.integers(*_KICKS), *style.permutation(len(_STRIKES))[: style.integers(2, 5)]]
    speed = style.uniform(0.5, 0.8)
    keys: list[tuple[float, dict[str, float]]] = [(-9.0, {})]
    start = -1.0 + take.uniform()
    while start < 4.0:
        length = speed * take.uniform(0.85, 1.2)
        strike = _STRIKES[known[take.integers(0, len(known))]]
        size = take.uniform(0.75, 1.05)
        keys.append((start, {}))
        for part, offsets in strike:
            full = {name: v - _GUARD.get(name, 0.0) for name, v in offsets.items()}
            keys.append((start + part * length, _sided(full, lead, size)))
        start += length + take.uniform(0.03, 0.2)
        keys.append((start - 0.02, {}))
    _keys(pose, times, keys)


_GUARD = {"shf": 32, "shb": 28, "elbowf": 105, "elbowb": 118, "hipf": 30, "hipb": -16}
_GUARD |= {"kneef": 34, "kneeb": 34, "lean": 5}


def _stance(pose: Pose, lead: str, style: Generator) -> None:
    """A fighter's guard: one foot ahead, fists up."""
    for name, value in _sided(_GUARD, lead, 1.0).items():
        pose[name] += value + style.normal(0, 5)
    for side in "lr":
        pose["sht" + side] += style.uniform(-30, 0)
        pose["sho" + side] += style.uniform(4, 20)
        pose["hipo" + side] += style.uniform(3, 10)


def _bounce(pose: Pose, phase: np.ndarray, bend: float, air: float) -> None:
    """Springing in the knees, with a small hop at the top."""
    for side in "lr":
        pose["knee" + side] += bend * (1 - np.cos(phase))
        pose["hip" + side] += 0.55 * bend * (1 - np.cos(phase))
        pose["elbow" + side] += bend * np.sin(phase)
    pose["air"] += air * np.maximum(0, np.cos(phase))


def _dancing(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    beat = style.uniform(1.5, 2.3) * take.uniform(0.92, 1.08)
    phase = 2 * np.pi * (beat * times + take.uniform()) / 2
    _bounce(pose, 2 * phase, style.uniform(2, 8), style.uniform(0, 0.03))
    hips = style.uniform(3, 11)
    pose["sway"] += hips * np.sin(phase)
    pose["shift"] += style.uniform(0.0, 0.05) * np.sin(phase)
    pose["twist"] += style.uniform(4, 18) * np.sin(phase + style.uniform(0, 6))
    pose["yaw"] += style.uniform(10, 50) * np.sin(phase / 2 + take.uniform(0, 6))
    if style.uniform() < 0.5:
        _stride(
            pose, phase, swing=style.uniform(8, 26), centre=8, lift=style.uniform(15, 70), arms=0
        )
    for side in "lr":
        start = style.uniform(0, 6)
        pose["sh" + side] += style.uniform(10, 40) + style.uniform(5, 35) * np.sin(phase + start)
        pose["sho" + side] += style.uniform(20, 60) + style.uniform(5, 25) * np.cos(phase + start)
        pose["elbow" + side] += style.uniform(20, 70) + style.uniform(5, 30) * np.cos(phase + start)
        pose["hipo" + side] += style.uniform(2, 9)
    known = style.permutation(len(_FIGURES))[: style.integers(3, 6)]
    keys: list[tuple[float, dict[str, float]]] = [(-9.0, {})]
    time = -1.0 + take.uniform()
    while time < 4.0:
        figure = _FIGURES[known[take.integers(0, len(known))]]
        held = take.uniform(0, 0.6) / beat
        offsets = _sided(figure, "lr"[take.integers(0, 2)], take.uniform(0.6, 1.0))
        keys += [(time, offsets), (time + held + 0.01, offsets)]
        time += held + take.integers(1, 3) / beat
    _keys(pose, times, keys)
    for side in "lr":
        pose["elbow" + side] = np.minimum(pose["elbow" + side], 140)
        pose["sh" + side] = np.minimum(pose["sh" + side], 170)


def _walking(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    phase = _cycle(times, style.uniform(0.75, 1.05), take)
    size = take.uniform(0.85, 1.1)
    _stride(
        pose,
        phase,
        swing=size * style.uniform(17, 27),
        centre=4,
        lift=size * style.uniform(32, 55),
        arms=size * style.uniform(8, 28),
    )
    pose["lean"] += style.uniform(-2, 6)
    for side in "lr":
        pose["elbow" + side] += style.uniform(10, 40)
        pose["sho" + side] += style.uniform(4, 12)


def _standing(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    phase = _cycle(times, style.uniform(0.2, 0.5), take)
    pose["sway"] += style.uniform(1, 4) * np.sin(phase)
    pose["yaw"] += style.uniform(0, 12) * np.cos(phase)
    for side in "lr":
        pose["knee" + side] += style.uniform(3, 12)
        pose["hip" + side] += style.uniform(0, 5)
        pose["hipo" + side] += style.uniform(1, 7)
        pose["sh" + side] += style.uniform(-5, 25)
        pose["sho" + side] += style.uniform(5, 16)
        pose["elbow" + side] += style.uniform(8, 100) + 5 * np.sin(phase)


def _waving(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    _standing(pose, times, style, take)
    phase = _cycle(times, style.uniform(1.2, 2.4), take)
    both = style.uniform() < 0.4
    first = "lr"[style.integers(0, 2)]
    for side in "lr" if both else first:
        pose["sho" + side] += style.uniform(60, 140) + style.uniform(2, 14) * np.sin(phase)
        pose["elbow" + side] = style.uniform(30, 70) + style.uniform(15, 35) * np.sin(phase)
        pose["sht" + side] += style.uniform(40, 90)


def _squatting(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    phase = _cycle(times, style.uniform(0.5, 0.9), take)
    depth = take.uniform(0.7, 1.05) * (1 - np.cos(phase)) / 2
    reach, elbow = style.uniform(30, 90), style.uniform(5, 100)
    for side in "lr":
        pose["hip" + side] += 4 + 98 * depth
        pose["knee" + side] += 6 + 108 * depth
        pose["hipo" + side] += 5
        pose["hipt" + side] += 12 + 14 * depth
        pose["sh" + side] += reach * depth + style.uniform(0, 15)
        pose["sho" + side] += 8
        pose["elbow" + side] += elbow
    pose["lean"] += 2 + 34 * depth


def _jumping_jacks(pose: Pose, times: np.ndarray, style: Generator, take: Generator) -> None:
    phase = _cycle(times, style.uniform(0.8, 1.25), take)
    spread = (1 - np.cos(phase)) / 2
    pose["air"] += take.uniform(0.02, 0.06) * np.abs(np.sin(phase))
    for side in "lr":
        pose["hipo" + side] += 3 + take.uniform(18, 30) * spread
        pose["knee" + side] += 8 + 10 * (1 - np.abs(np.sin(phase)))
        pose["hip" + side] += 5
        pose["sho" + side] += 10 + take.uniform(110, 155) * spread
        pose["elbow" + side] += style.uniform(5, 35)


_MOVES: dict[str, Callable[[Pose, np.ndarray, Generator, Generator], None]] = {
    "running": _running,
    "martial_arts": _martial_arts,
    "dancing": _dancing,
    "rope_jumping": _rope_jumping,
    "walking": _walking,
    "waving": _waving,
    "squatting": _squatting,
    "jumping_jacks": _jumping_jacks,
    "standing": _standing,
}
