"""Certificates of schemas 1 and 2, whose files have the names of an earlier release: read under the present ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: By place in the file, under present names (``*`` is any item of a list): what a key was called.
KEYS: Final[Mapping[tuple[str, ...], Mapping[str, str]]] = {
    (): {"question": "specification", "findings": "results"},
    ("specification",): {"teachers": "num_teachers", "margin": "order_margin"},
    ("constants",): {"lipschitz": "total_lipschitz", "regularity": "lipschitz", "gap": "log_ratio"},
    ("results", "*", "witness"): {"teachers": "num_teachers", "question": "specification"},
    ("results", "*", "witness", "specification"): {"teachers": "num_teachers", "margin": "order_margin"},
    ("source", "options"): {"teachers": "num_teachers"},
}
#: What declared constants were called where a witness refutes one.
AXIOMS: Final[Mapping[str, str]] = {
    "constants.gap": "constants.log_ratio",
    "constants.regularity": "constants.lipschitz",
}
_AXIOM: Final = (("results", "*", "axiom"), ("results", "*", "witness", "axiom"))


#: Keys that came later, by place, with the value that an earlier file stands for.
LATER: Final[Mapping[tuple[str, ...], Mapping[str, Any]]] = {
    ("specification",): {"critical": False},
    ("results", "*", "witness", "specification"): {"critical": False},
    ("run",): {"safety": None},
}


def modern(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a certificate of an earlier schema under the present names; the schema itself stays."""
    made: dict[str, Any] = _renamed(data, (), KEYS, AXIOMS)
    return made


def former(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inverse of :func:`modern`."""
    back = {place: {new: old for old, new in names.items()} for place, names in KEYS.items()}
    made: dict[str, Any] = _renamed(_without_later(data, ()), (), back, {new: old for old, new in AXIOMS.items()})
    return made


def modern_witness(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a witness by itself, under the present names whichever it has."""
    if not data.keys() & {"teachers", "question"}:
        return dict(data)
    made: dict[str, Any] = _renamed(data, ("results", "*", "witness"), KEYS, AXIOMS)
    return made


def _renamed(
    part: Any, place: tuple[str, ...], keys: Mapping[tuple[str, ...], Mapping[str, str]], axioms: Mapping[str, str]
) -> Any:
    if isinstance(part, list | tuple):
        return [_renamed(item, (*place, "*"), keys, axioms) for item in part]
    if not isinstance(part, Mapping):
        return axioms.get(part, part) if place in _AXIOM else part
    names = keys.get(place, {})
    return {
        names.get(key, key): _renamed(value, (*place, _present(place, key)), keys, axioms)
        for key, value in part.items()
    }


def _without_later(part: Any, place: tuple[str, ...]) -> Any:
    if isinstance(part, list | tuple):
        return [_without_later(item, (*place, "*")) for item in part]
    if not isinstance(part, Mapping):
        return part
    later = LATER.get(place, {})
    kept = {key: value for key, value in part.items() if key not in later or value != later[key]}
    return {key: _without_later(value, (*place, key)) for key, value in kept.items()}


def _present(place: tuple[str, ...], key: str) -> str:
    """Return what a key is called now, whichever release it is of."""
    return KEYS.get(place, {}).get(key, key)
