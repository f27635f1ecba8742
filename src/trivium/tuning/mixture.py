"""The objective without training: how well the weighted teachers themselves predict validation data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from trivium.data.table import Table
from trivium.errors import require
from trivium.scheme import Scheme
from trivium.simplex.restriction import restrict
from trivium.teachers.live import LogitSource
from trivium.training.build import build_scheme
from trivium.training.collect import collect_features, weigh
from trivium.training.evaluate import batch_of, bits_per_byte, indices, is_predictor, mixture_nats
from trivium.training.recipe import SchemeSection
from trivium.training.run import PreparedRun
from trivium.tuning.space import Space
from trivium.weighting.features import NEEDS_STUDENT

Split = Literal["validation", "test"]

#: Called with (step, value) while a candidate is judged; it may raise to end that.
Watch = Callable[[int, float], None]


@dataclass(frozen=True)
class MixtureInputs:
    """All that any scheme of a space and the linear pool need of a table of rows, without its logits.

    Attributes:
        features: by name, [N, T, K] or broadcastable to it.
        label_log_prob: log p_k(label), [N, T, K], 0 where nothing is predicted.
        teacher_mask: bool [N, K], which teachers serve a row's task; None where all do.
    """

    features: dict[str, Tensor]
    label_log_prob: Tensor
    mask: Tensor
    teacher_mask: Tensor | None

    def nll(self, scheme: Scheme) -> Tensor:
        """−Σ_t log Σ_k w_k p_k(label_t) for each row, [N], float64. Cost O(N·T·K), whatever the vocabulary."""
        weights = weigh(scheme, self.features).expand_as(self.label_log_prob)
        if self.teacher_mask is not None:
            weights = restrict(weights, self.teacher_mask.unsqueeze(1))
        mixed = torch.logsumexp(weights + self.label_log_prob, dim=-1)
        return -torch.where(self.mask, mixed, 0.0).double().sum(-1)


@torch.no_grad()
def see(scheme: Scheme, source: LogitSource, rows: Table, validation_loss: Tensor) -> MixtureInputs:
    """One pass over the teachers' logits. ``scheme`` reads every feature that is wanted later."""
    parts: dict[str, list[Tensor]] = {}
    labels = []
    for index in indices(rows):
        batch = batch_of(rows, index, source)
        for name, value in collect_features(scheme, batch, None, validation_loss).items():
            parts.setdefault(name, []).append(value)
        chosen = batch.labels.clamp_min(0).unsqueeze(-1)
        picked = [z.float().log_softmax(-1).gather(-1, chosen).squeeze(-1) for z in batch.teacher_logits]
        labels.append(torch.stack(picked, -1))
    features = {name: torch.cat(values) for name, values in parts.items() if values[0].ndim > 1}
    label_log_prob = torch.cat(labels).masked_fill(~rows.mask.unsqueeze(-1), 0.0)
    features["teachers"] = label_log_prob.new_zeros(label_log_prob.shape[-1])
    return MixtureInputs(features, label_log_prob, rows.mask, rows.teacher_mask)


class MixtureObjective:
    """Held-out bits per byte, or nats an example, of the weighted teachers as a predictor, mean of the domains.

    Nothing is trained.

    With the linear pool the logits are read once, and once more for a feature that only some options read; then a
    scheme costs O(rows·T·K). Other pools need their normalizer, so there a scheme costs a pass over the logits.
    """

    what = "mixture"

    def __init__(self, space: Space, prepared_run: PreparedRun) -> None:
        self.space, self.prepared_run = space, prepared_run
        self.everything = build_scheme(space.everything(), space.base)
        self._seen: dict[Split, MixtureInputs] = {}

    @property
    def unit(self) -> str:
        """What values are."""
        return f"{self.rows('validation').unit} of the mixture"

    def measurable(self, section: SchemeSection) -> str:
        """Why a scheme has no mixture to measure; empty where it has one."""
        scheme = build_scheme(self.space.with_section(section), self.space.base)
        if set(scheme.ranges) & NEEDS_STUDENT:
            return "it looks at the student, which is not trained here"
        if not is_predictor(scheme):
            return "it sees the label, so it is no predictor"
        return ""

    def value(self, section: SchemeSection, watch: Watch | None = None) -> float:
        """Mean over the domains of validation bits per byte, or nats an example."""
        return mean_nll(self.nll(section, "validation"), self.rows("validation"))

    def nll(self, section: SchemeSection, split: Split) -> Tensor:
        """Nats a row, [N], float64.

        Raises:
            InputError: a scheme that sees the label or the student.
        """
        reason = self.measurable(section)
        require(not reason, "a mixture must be a predictor", reason, "Use --objective student.")
        recipe, base, prepared_run = self.space.with_section(section), self.space.base, self.prepared_run
        scheme = build_scheme(recipe, base)
        source, rows = prepared_run.sources[split], self.rows(split)
        if recipe.loss.pool != "linear":
            pool, exponent = recipe.loss.pool, recipe.loss.exponent
            return mixture_nats(scheme, source, rows, prepared_run.validation_loss, pool, exponent=exponent)
        if split not in self._seen:
            self._seen[split] = see(self.everything, source, rows, prepared_run.validation_loss)
        if not set(scheme.ranges) <= set(self._seen[split].features):  # an option reads what no default does
            more = see(scheme, source, rows, prepared_run.validation_loss)
            self._seen[split] = replace(more, features={**self._seen[split].features, **more.features})
        return self._seen[split].nll(scheme)

    def rows(self, split: Split) -> Table:
        """The rows of a split; the recipe must have it."""
        return rows_of(self.prepared_run, split)

    def keep(self, sections: list[SchemeSection]) -> None:
        """Nothing is stored for any scheme."""


def rows_of(prepared_run: PreparedRun, split: Split) -> Table:
    """Validation or test rows."""
    table = prepared_run.tables.validation if split == "validation" else prepared_run.tables.test
    if table is None:
        raise KeyError(split)
    return table


def mean_nll(nll: Tensor, rows: Table) -> float:
    """The number that is minimized: the mean over domains of Σ nats / (Σ bytes · ln 2), or of nats an example."""
    values = bits_per_byte(nll, rows).values()
    return sum(values) / len(values)
