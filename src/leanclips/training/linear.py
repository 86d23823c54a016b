"""Logistic regression on a clip's features: the classifiers `linear` and `temporal`."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from leanclips.study import TEMPORAL

if TYPE_CHECKING:  # scikit-learn takes 1.5 s to load, and most stages fit nothing
    from sklearn.pipeline import Pipeline

# The values of C (the inverse strength of the L2 penalty) to choose from.
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
WITHOUT_CHOICE = 1e-2  # where a class has too few recordings to choose by
INNER_FOLDS = 3
ITERATIONS = 2000


@dataclass(frozen=True)
class Fitted:
    """A fitted model: standardization and logistic regression, with its C."""

    classifier: str
    model: "Pipeline"
    regularization: float

    @property
    def trainable_parameters(self) -> int:
        regression = self.model[-1]
        return regression.coef_.size + regression.intercept_.size

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """What it takes to predict: mean and scale of the features, coefficients, intercepts."""
        scaler, regression = self.model
        return {"mean": scaler.mean_, "scale": scaler.scale_, "coefficients": regression.coef_,
                "intercepts": regression.intercept_}

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """Of features (clips, frames, features): (clips, classes)."""
        with threadpool_limits(1):
            return self.model.predict_proba(pooled(self.classifier, clips))


def pooled(classifier: str, clips: np.ndarray) -> np.ndarray:
    """What the classifier takes of features (clips, frames, features), fp64.

    `linear`: the mean over frames, (clips, features). `temporal`: that and the mean absolute
    difference of successive frames, (clips, 2 × features).
    """
    clips = clips.astype(np.float64)
    mean = clips.mean(axis=1)
    if classifier != TEMPORAL:
        return mean
    return np.concatenate([mean, np.abs(np.diff(clips, axis=1)).mean(axis=1)], axis=1)


def fit(classifier: str, clips: np.ndarray, labels: np.ndarray, groups: Sequence[str],
        seed: int) -> Fitted:
    """Fit to features (clips, frames, features) of labels (clips,), standardized on these clips.

    C is the value of GRID with the best accuracy in a grouped cross-validation within these clips,
    the smallest of equals; its folds depend on `seed`, labels and recordings alone.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values = pooled(classifier, clips)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
    recordings = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    folds = min(INNER_FOLDS, *recordings.values())
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer clips of a class than folds
        if folds < 2:
            model.set_params(logisticregression__C=WITHOUT_CHOICE).fit(values, labels)
            return Fitted(classifier, model, WITHOUT_CHOICE)
        inner = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        search = GridSearchCV(model, {"logisticregression__C": GRID}, cv=inner)
        search.fit(values, labels, groups=np.asarray(groups))
    return Fitted(classifier, search.best_estimator_,
                  search.best_params_["logisticregression__C"])
