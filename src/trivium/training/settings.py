"""Settings of a distiller, from what a caller may give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from trivium.errors import InputError, nearest, require
from trivium.scheme import Scheme
from trivium.training.monitor import Action, Monitor, MonitoredBounds
from trivium.training.recipe import LossSection, MonitorSection, parse_loss
from trivium.training.step import Watcher


def loss_of(loss: LossSection | Mapping[str, Any] | None) -> LossSection:
    """Return the settings of a loss, from what a caller may give."""
    if loss is None or isinstance(loss, LossSection):
        return loss or LossSection()
    require(isinstance(loss, Mapping), "a loss must be a Loss or a mapping", type(loss).__name__, "{'temperature': 2}")
    return parse_loss(loss)


def watchers(scheme: Scheme, on_violation: Action | Watcher) -> tuple[Watcher, Watcher]:
    """Return the monitor of training, and one for all else, whose record nobody reads."""
    if not isinstance(on_violation, str):
        return on_violation, on_violation
    if on_violation not in get_args(Action):
        fix = nearest(on_violation, get_args(Action))
        raise InputError("on_violation must be an action or a monitor", repr(on_violation), fix)
    bounds = MonitoredBounds.of(scheme, MonitorSection())
    return Monitor(bounds, on_violation), Monitor(bounds, on_violation)


def losses_of(losses: Any, num_teachers: int) -> Tensor | None:
    """Return validation losses [tasks, K]; of one task also [K]; None stays None."""
    if losses is None:
        return None
    found = torch.as_tensor(losses, dtype=torch.float32)
    found = found.unsqueeze(0) if found.ndim == 1 else found
    fits = found.ndim == 2 and found.shape[-1] == num_teachers
    require(fits, f"validation losses must be [tasks, {num_teachers}]", list(found.shape), "In the scheme's order.")
    return found


def place_of(device: torch.device | str) -> torch.device:
    """Return the device of that name."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError("a device must be one of torch's", repr(device), "For example cuda:0 or cpu.") from error
