"""Losses: how far the student is from the pooled target, and the gradient that moves it there."""

from __future__ import annotations

from trivium.losses.inputs import DIVERGENCES
from trivium.losses.streaming import distillation_loss, token_losses

__all__ = ["DIVERGENCES", "distillation_loss", "token_losses"]
