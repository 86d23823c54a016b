"""The linear classifiers: pooled as they say, standardized, and at the minimum of their loss."""

import numpy as np
import pytest
from sklearn import model_selection
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leanclips.training.linear import GRID, WITHOUT_CHOICE, fit, pooled


def problem(clips=36, noise=1.0, seed=0, classes=3):
    """Features (clips, 5 frames, 4), labels and recordings of two clips each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(clips) // 2 % classes
    centres = rng.normal(size=(classes, 4))
    values = centres[labels][:, None] + noise * rng.normal(size=(clips, 5, 4))
    return values.astype(np.float32), labels, [f"tape{n // 2}" for n in range(clips)]


def test_what_the_classifiers_take_is_the_mean_and_the_mean_change():
    clips = np.array([[[1, 10], [3, 10], [2, 16]], [[0, 0], [0, -2], [6, 2]]], np.float32)
    np.testing.assert_allclose(pooled("linear", clips), [[2, 12], [2, 0]])
    np.testing.assert_allclose(pooled("temporal", clips), [[2, 12, 1.5, 3], [2, 0, 3, 3]])


@pytest.mark.parametrize("classifier", ["linear", "temporal"])
def test_probabilities_are_of_all_classes_and_sum_to_one(classifier):
    clips, labels, groups = problem()
    shares = fit(classifier, clips, labels, groups, 1).probabilities(clips)
    assert shares.shape == (36, 3) and (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(1), 1)


@pytest.mark.parametrize("classifier, columns", [("linear", 4), ("temporal", 8)])
def test_features_are_standardized_on_the_training_clips(classifier, columns):
    clips, labels, groups = problem()
    made = fit(classifier, clips, labels, groups, 1)
    values = pooled(classifier, clips)
    np.testing.assert_allclose(made.weights["mean"], values.mean(0))
    np.testing.assert_allclose(made.weights["scale"], values.std(0))
    assert made.trainable_parameters == 3 * columns + 3
    # The unit of a feature, then, does not count.
    scaled = fit(classifier, clips * 50, labels, groups, 1)
    np.testing.assert_allclose(scaled.probabilities(clips * 50), made.probabilities(clips),
                               atol=1e-3)


def test_a_feature_that_never_changes_does_no_harm():
    clips, labels, groups = problem()
    clips[:, :, 2] = 7
    assert np.isfinite(fit("temporal", clips, labels, groups, 1).probabilities(clips)).all()


def by_hand(made, clips):
    """Probabilities from the weights that are kept, in plain NumPy."""
    weights = made.weights
    seen = (pooled(made.classifier, clips) - weights["mean"]) / weights["scale"]
    scores = seen @ weights["coefficients"].T + weights["intercepts"]
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return seen, shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize("classifier", ["linear", "temporal"])
def test_the_weights_are_at_the_minimum_of_the_penalized_log_loss(classifier):
    """sum of log losses + |coefficients|² / 2C has no slope there."""
    clips, labels, groups = problem(noise=2)
    made = fit(classifier, clips, labels, groups, 1)
    seen, shares = by_hand(made, clips)
    np.testing.assert_allclose(shares, made.probabilities(clips), rtol=1e-6)
    missed = shares - np.eye(3)[labels]
    slope = missed.T @ seen + made.weights["coefficients"] / made.regularization
    before = np.abs((1 / 3 - np.eye(3)[labels]).T @ seen).max()
    assert np.abs(slope).max() < 1e-3 * before
    assert np.abs(missed.sum(0)).max() < 1e-2  # the intercepts are not penalized


def plain(c):
    """scikit-learn's own, on all features as they are."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000, tol=1e-7))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("classifier", ["linear", "temporal"])
def test_fewer_dimensions_give_what_all_give(classifier, classes):
    """12 clips of 30 features: more features than clips."""
    rng = np.random.default_rng(4)
    labels = np.arange(12) % classes
    clips = (labels[:, None, None] + rng.normal(size=(12, 4, 30))).astype(np.float32)
    made = fit(classifier, clips, labels, [f"tape{n // classes}" for n in range(12)], 1)
    other = (labels.max() / 2 + rng.normal(size=(50, 4, 30))).astype(np.float32)
    wanted = plain(made.regularization).fit(pooled(classifier, clips), labels)
    np.testing.assert_allclose(made.probabilities(other), wanted.predict_proba(
        pooled(classifier, other)), atol=2e-3)


def accuracies(clips, labels, groups, seed, classifier="linear"):
    """Of each C in a grouped cross-validation, in which nothing but one C is fitted."""
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
    found = dict.fromkeys(GRID, 0.0)
    for train, test in folds.split(clips, labels, groups):
        for c in GRID:
            values, model = pooled(classifier, clips), plain(c)
            model.fit(values[train], labels[train])
            found[c] += model.score(values[test], labels[test]) / 3
    return found


@pytest.mark.parametrize("seed", range(3))
def test_c_is_the_smallest_of_the_grid_with_the_best_accuracy(seed):
    clips, labels, groups = problem(noise=3, seed=seed)
    found = accuracies(clips, labels, groups, seed)
    best = max(round(value, 9) for value in found.values())
    wanted = min(c for c, value in found.items() if round(value, 9) == best)
    assert fit("linear", clips, labels, groups, seed).regularization == wanted


def test_where_all_are_as_good_the_strongest_penalty_is_taken():
    clips, labels, groups = problem(noise=0.01)
    assert fit("linear", clips, labels, groups, 1).regularization == GRID[0]


def test_the_choice_depends_on_the_seed_labels_and_recordings_alone(monkeypatch):
    """The same folds for another variant's features."""
    dealt = []

    class Watched(StratifiedGroupKFold):
        def split(self, values, labels=None, groups=None):
            parts = [(list(train), list(test)) for train, test in super().split(
                values, labels, groups)]
            dealt.append(parts)
            return iter(parts)

    monkeypatch.setattr(model_selection, "StratifiedGroupKFold", Watched)
    clips, labels, groups = problem()
    for values, seed in ((clips, 1), (clips[::-1] * 3, 1), (clips, 2)):
        fit("linear", values, labels, groups, seed)
    first, second, third = dealt
    assert first == second != third
    for train, test in first:
        assert not {groups[n] for n in train} & {groups[n] for n in test}


def test_with_a_class_of_one_recording_c_is_not_chosen():
    clips, labels, groups = problem()
    groups = ["film" if label == 2 else group for label, group in zip(labels, groups, strict=True)]
    assert fit("linear", clips, labels, groups, 1).regularization == WITHOUT_CHOICE
    with_two = ["film" + str(n % 2) if label == 2 else group
                for n, (label, group) in enumerate(zip(labels, groups, strict=True))]
    assert fit("linear", clips, labels, with_two, 1).regularization in GRID


def test_the_same_seed_gives_the_same_numbers_and_labels_may_be_few():
    clips, labels, groups = problem(clips=8, classes=2)
    first, second = (fit("temporal", clips, labels, groups, 3) for _ in range(2))
    assert all(np.array_equal(first.weights[name], second.weights[name])
               for name in first.weights)
    assert first.probabilities(clips).shape == (8, 2)


def test_the_temporal_classifier_sees_the_order_of_frames_and_the_linear_one_does_not():
    clips, labels, groups = problem()
    clips = np.sort(clips, axis=1)  # each feature rises slowly
    shuffled = clips[:, [2, 0, 4, 1, 3]]
    plain, temporal = (fit(name, clips, labels, groups, 1) for name in ("linear", "temporal"))
    np.testing.assert_allclose(plain.probabilities(shuffled), plain.probabilities(clips))
    assert not np.allclose(temporal.probabilities(shuffled), temporal.probabilities(clips))
    # Not the direction of time, though.
    np.testing.assert_allclose(temporal.probabilities(clips[:, ::-1]),
                               temporal.probabilities(clips))


def test_motion_alone_is_learnt_by_the_temporal_classifier_only():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    steps = rng.normal(size=(40, 6, 3)) * np.where(labels, 3.0, 0.3)[:, None, None]
    clips = (steps - steps.mean(1, keepdims=True)).astype(np.float32)
    groups = [f"tape{n}" for n in range(40)]
    right = {name: (fit(name, clips[:20], labels[:20], groups[:20], 1).probabilities(clips[20:])
                    .argmax(1) == labels[20:]).mean() for name in ("linear", "temporal")}
    assert right["temporal"] == 1 and right["linear"] < 0.8
