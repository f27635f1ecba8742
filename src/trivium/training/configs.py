"""Fresh transformers configs from a recipe, every key known."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from trivium.errors import InputError, nearest, said_by


def fresh_model(factory: Any, config: Any) -> Any:
    """Return the model that an Auto class of transformers makes of a config; raises InputError where it makes none."""
    try:
        return factory.from_config(config)
    except Exception as error:  # a size may be 0, huge, or no multiple of another: each model finds that in its own way
        said = said_by(error, 160)
        raise InputError(f"student.config must make a {config.model_type}", said, "Mend its sizes.") from error


def fresh_config(options: dict[str, Any], known: Collection[str], does: str, default: Mapping[str, Any]) -> Any:
    """Return a transformers config from a recipe's mapping.

    Args:
        known: the model types that serve; ``does`` says for what.
        default: what the options may override.

    Raises:
        InputError: a model type that does not serve, a key that does not exist or a value that does not fit.
    """
    from transformers import AutoConfig

    model_type = options.pop("model_type", None)
    if model_type not in known:
        fix = nearest(model_type, known) if isinstance(model_type, str) else "For example: llama."
        raise InputError(f"student.config must name a model_type that {does}", repr(model_type), fix)
    try:
        config = AutoConfig.for_model(model_type, **{**default, **options})
    except Exception as error:  # StrictDataclassError, and whatever a config's own checks stumble over
        reason = " ".join(str(error.__cause__ or error).split())[:160]
        raise InputError(f"student.config must fit {model_type}", reason, "Mend it.") from error
    # transformers keeps what it does not know as an attribute: a misspelled size would silently be the default.
    fields = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map)
    for key in options:
        if key not in fields:
            raise InputError(f"a key of student.config must exist for {model_type}", repr(key), nearest(key, fields))
    return config
