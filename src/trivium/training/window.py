"""Whether the student takes rows as long as the data's window."""

from __future__ import annotations

from typing import Any

import torch

from trivium.errors import ForeignError, InputError, said_by


def require_window(student: Any, window: int) -> None:
    """Refuse a student whose positions end before the window does.

    Rotary positions have no end. Any other student is asked: tables of positions hide under many names, and some hold
    fewer than ``max_position_embeddings`` says (RoBERTa's begin after the padding), so it reads one row.
    Cost: that row's forward pass, none for rotary positions.

    Raises:
        InputError: the student cannot read ``window`` tokens. ForeignError: it reads no row, however short.
    """
    config = student.config.get_text_config(decoder=True)
    if getattr(config, "rope_parameters", None) is not None:
        return
    # Padding has no position of its own in some models, so the row must hold none.
    token = int(getattr(config, "pad_token_id", None) == 0)
    training = student.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            student.eval()(input_ids=torch.full((1, window), token, device=student.device))
    except Exception as error:  # a model may raise anything
        if not _reads(student, token, min(window, 2)):
            raise ForeignError("the student must read a row", said_by(error), "Run its forward by itself.") from error
        limit = _limit(config)
        most = "" if limit is None else f", at most its max_position_embeddings = {limit}"
        reason = said_by(error, 120)
        raise InputError(
            "a student must take rows of data.window tokens",
            f"{window}, of which it says: {reason}",
            f"Lower data.window{most}, or give it more positions.",
        ) from error
    finally:
        student.train(training)


def _reads(student: Any, token: int, length: int) -> bool:
    """Whether a row of a few tokens goes through, so that a longer one failed by its length."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            student.eval()(input_ids=torch.full((1, length), token, device=student.device))
    except Exception:
        return False
    return True


def window_note(student: Any, window: int) -> str | None:
    """A line to show where the window is longer than the student's config foresees, though it takes it."""
    limit = _limit(student.config.get_text_config(decoder=True))
    if limit is None or window <= limit:
        return None
    return f"note: rows of {window} tokens are longer than the student's max_position_embeddings, {limit}"


def _limit(config: Any) -> int | None:
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
