"""Handwritten digits as two tasks, three teachers of different kinds, one student with two heads.

Needs scikit-learn: pip install scikit-learn
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

images, digit = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
order = np.random.default_rng(0).permutation(len(digit))
# The teachers have examples of their own: on what they have seen their confidence would teach nothing.
taught, train, validation, test = np.split(order, [500, 1100, 1300])


def examples(part, label):
    return torch.tensor(images[part]), torch.tensor(label[part])


def digit_train():
    return examples(train, digit)


def digit_validation():
    return examples(validation, digit)


def digit_test():
    return examples(test, digit)


# The second task: is it even? Its teacher is another one, its classes are others, the images are the same.
def parity_train():
    return examples(train, digit % 2)


def parity_validation():
    return examples(validation, digit % 2)


def parity_test():
    return examples(test, digit % 2)


def teacher(model, label, part=taught):
    """A scikit-learn classifier, fitted; as a teacher it maps a batch of images to probabilities."""
    model.fit(images[part], label[part])
    return lambda x: model.predict_proba(x.numpy())


def linear():
    return teacher(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), digit)


def forest():
    return teacher(RandomForestClassifier(n_estimators=100, random_state=0), digit)


def parity():
    return teacher(RandomForestClassifier(n_estimators=100, random_state=1), digit % 2)


def both():
    """One network a task, returned by the name of the task."""
    tens = teacher(MLPClassifier((32,), max_iter=80, early_stopping=True, random_state=0), digit)
    twos = teacher(MLPClassifier((32,), max_iter=80, early_stopping=True, random_state=0), digit % 2)
    return lambda x: {"digit": tens(x), "parity": twos(x)}


class Student(torch.nn.Module):
    """A shared layer and a head for each task."""

    def __init__(self):
        super().__init__()
        self.shared = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU())
        self.digit, self.parity = torch.nn.Linear(64, 10), torch.nn.Linear(64, 2)

    def forward(self, x):
        hidden = self.shared(x)
        return {"digit": self.digit(hidden), "parity": self.parity(hidden)}
