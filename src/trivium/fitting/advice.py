"""Say in a sentence or two what headroom means."""

from __future__ import annotations

from collections.abc import Mapping

from trivium.fitting.differing import Differing
from trivium.fitting.judging import Gain

#: Nats a token below which nothing is to be gained, or teachers hardly differ.
LITTLE = 0.01
_TELLING = {
    "everything": "constant weights",
    "task": "telling tasks apart",
    "domain": "telling domains apart",
    "document": "telling documents apart",
}


def advice(
    bounds: Mapping[str, float],
    by_domain: Mapping[str, Mapping[str, float]],
    rules: Mapping[str, Mapping[str, Gain]],
    differing: Differing | None,
) -> str:
    """The scale that can gain most by itself, what the first rule gains, and where teachers hardly differ.

    >>> advice({"everything": 0.0, "task": 0.1, "domain": 0.32, "document": 0.33, "token": 0.6}, {}, {}, None)
    'Telling domains apart can gain at most 0.320 nats here.'
    """
    if bounds["token"] < LITTLE:
        return (
            f"No weighting can gain here: the best teacher of each token is {nats(bounds['token'])} nats above uniform."
        )
    # The coarsest scale that has nine tenths of what a document's own weights could gain.
    enough = 0.9 * bounds["document"]
    scale = next(name for name in _TELLING if bounds[name] >= enough or name == "document")
    if bounds[scale] < LITTLE:
        text = (
            f"Weights that are constant on a document can gain at most {nats(bounds[scale])} nats here; "
            f"what can be gained, up to {nats(bounds['token'])} in hindsight, lies between tokens"
        )
    else:
        what = _TELLING[scale]
        text = f"{what[0].upper()}{what[1:]} can gain at most {nats(bounds[scale])} nats here"
    if rules:
        name, table = next(iter(rules.items()))
        mine = table["all"].mean
        text += f"; {name} gains {nats(mine)}"
        if mine > bounds[scale]:
            text += ", more than any weights that are constant there"
    quiet = [] if differing is None else [n for n, value in differing.information.items() if value < LITTLE]
    if quiet:
        text += f"; the teachers hardly differ on {', '.join(quiet)}"
    elif differing is None:
        quiet = [name for name, value in by_domain.get("token", {}).items() if value < LITTLE]
        text += f"; the teachers hardly differ on {', '.join(quiet)}" if quiet else ""
    return text + "."


def nats(number: float) -> str:
    """Return three decimals, without a −0."""
    return f"{round(number, 3) + 0.0:.3f}"
