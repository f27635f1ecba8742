"""The runs that a scheme is compared with: same data, steps, distillation mass and initial weights."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from trivium.errors import require
from trivium.training.recipe import Recipe, RuleSection, SchemeSection
from trivium.weighting.features import SCALES

#: Influence of a choice that is hard to float32: the others keep 1.1e-7 of the weight, so W-P holds.
HARD = 16.0


def with_scheme(recipe: Recipe, name: str, scheme: SchemeSection) -> Recipe:
    """Return the same recipe under another scheme; the monitor's own bounds go with the scheme."""
    return recipe.model_copy(update={"name": name, "scheme": scheme})


def routed(teacher_of: dict[str, str]) -> SchemeSection:
    """Return all weight on one teacher for each domain."""
    return SchemeSection(context=[RuleSection(rule="domain_map", options={"map": teacher_of, "budget": HARD})])


def baselines(recipe: Recipe, validation_loss: Tensor) -> dict[str, Recipe]:
    """``single``: the teacher with the least mean validation loss over tasks; ``uniform``; ``oracle``: each domain's
    own teacher, which must bear the domain's name.

    Raises:
        InputError: a domain without a teacher of its name.
    """
    names, domains = recipe.teacher_names, [domain.name for domain in recipe.data.domains]
    missing = [domain for domain in domains if domain not in names]
    require(not missing, "an oracle needs a teacher named as each domain", f"none for {missing}", "Rename them.")
    # A teacher that does not serve every task has no mean over them.
    best = names[int(validation_loss.mean(0).nan_to_num(nan=torch.inf).argmin())]
    return {
        "single": with_scheme(recipe, "single", routed({domain: best for domain in domains})),
        "uniform": with_scheme(recipe, "uniform", SchemeSection()),
        "oracle": with_scheme(recipe, "oracle", routed({domain: domain for domain in domains})),
    }


def parts(recipe: Recipe) -> dict[str, Recipe]:
    """Return each scale alone and each pair of scales, with the budgets they have in the whole, and the whole without
    its influence budgets (``unbounded``)."""
    scheme = recipe.scheme
    present = [scale for scale in SCALES if getattr(scheme, scale)]
    chosen = [subset for size in range(1, len(present)) for subset in combinations(present, size)]
    found = {}
    for subset in chosen:
        dropped: dict[str, list[RuleSection]] = {scale: [] for scale in present if scale not in subset}
        name = "+".join(subset)
        found[name] = with_scheme(recipe, name, scheme.model_copy(update=dropped))
    free = scheme.model_copy(
        update={"budget": None, "floor": 0.0, "cap": 1.0}
        | {scale: [_unbudgeted(entry) for entry in getattr(scheme, scale)] for scale in present}
    )
    return found | {"unbounded": with_scheme(recipe, "unbounded", free)}


def _unbudgeted(entry: RuleSection) -> RuleSection:
    if ".py:" in entry.rule or entry.rule == "static":
        return entry
    return entry.model_copy(update={"options": entry.options | {"budget": None}})
