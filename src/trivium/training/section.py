"""The base class of the parts of a recipe, and the words for what is wrong with one."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from trivium.errors import InputError, nearest

if TYPE_CHECKING:  # pydantic names it nowhere public
    from pydantic._internal._model_construction import ModelMetaclass as _Kind
else:
    _Kind = type(BaseModel)


class _SaidInOneLine(_Kind):
    """Makes what is wrong with a section's arguments one :class:`InputError`. Only a call in Python comes through here:
    a section inside another is the outer one's to tell of."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            problems = "; ".join(explain(problem, cls) for problem in error.errors())
            fix = "`trivium recipe` shows every key."
            raise InputError(f"{error.title} must have valid settings", problems, fix) from None


class RecipePart(BaseModel, metaclass=_SaidInOneLine):
    """A part of the recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


#: A whole document may stand where a number should.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80


def explain(problem: Any, root: Any) -> str:
    """Return one of the problems that pydantic found with a section of class ``root``, in words."""
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path!r} ({nearest(str(problem['loc'][-1]), _keys(problem['loc'][:-1], root))})"
    if problem["type"] == "missing":
        return f"missing key {path!r}"
    return f"{path!r}: {problem['msg']}, not {_SHORT.repr(problem['input'])[:300]}"


def _keys(location: tuple[Any, ...], root: Any) -> list[str]:
    """Return the keys allowed at a place in the recipe, or in the section ``root``, read from the models themselves."""
    model: Any = root
    for part in location:
        if part not in model.model_fields:  # a place in a list or mapping
            continue
        annotation = model.model_fields[part].annotation
        inner = [a for a in getattr(annotation, "__args__", (annotation,)) if isinstance(a, type)]
        model = next((a for a in inner if issubclass(a, BaseModel)), model)
    return list(model.model_fields)
