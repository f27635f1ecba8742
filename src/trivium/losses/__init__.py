"""Losses: how far the student is from the pooled target, and the gradient that moves it there.

:func:`distillation_loss` is the one to train with; :func:`dense_distillation_loss` is the plain reference.
"""

from __future__ import annotations

from trivium.losses.dense import dense_distillation_loss, dense_token_losses
from trivium.losses.inputs import DIVERGENCES
from trivium.losses.streaming import distillation_loss, token_losses

__all__ = ["DIVERGENCES", "dense_distillation_loss", "dense_token_losses", "distillation_loss", "token_losses"]
