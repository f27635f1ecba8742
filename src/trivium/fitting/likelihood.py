"""The likelihood of a family's mixture, and its gradient, written out: memory is that of the observations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.fitting.family import LEAST_SHARE, Family, Layout
from trivium.fitting.observations import Observations
from trivium.fitting.projecting import Projecting
from trivium.simplex.restriction import stand_ins
from trivium.weighting.features import Scale

#: Numbers [tokens · K] worked on at once: what fits into the cache of a core.
_CHUNK = 1 << 16


def layout(family: Family, data: Observations) -> Layout:
    """Units and stand-ins as these data have them; the folds of one fit share those of the whole."""
    units = {}
    for scale in family.scales:
        if scale != "task":
            units[str(scale)] = torch.stack([_unit(data.features[name]) for name in family.read_at(scale)])
    return Layout(family, data.count, len(data.tasks), units, _bias(data))


def _unit(values: Tensor) -> Tensor:
    """Root mean square of a feature about its mean over the teachers; infinite, which makes its strength zero, where
    the teachers have the same up to rounding, as two have of their disagreement."""
    spread = (values - values.mean(-1, keepdim=True)).square().mean().sqrt()
    return torch.where(spread > 1e-5 * values.abs().max().clamp_min(1e-30), spread, torch.inf)


def _bias(data: Observations) -> Tensor:
    """The map from (skill, departures) to biases [tasks·K], centred; an absent teacher has its stand-in's."""
    tasks, num_teachers = len(data.tasks), data.count
    skill, share = torch.zeros(tasks, num_teachers, dtype=torch.float64), torch.zeros(tasks, dtype=torch.float64)
    own = torch.arange(num_teachers).repeat(tasks, 1)
    for task in range(tasks):
        mine = data.task == task
        share[task] = mine.double().mean()
        if bool(mine.any()):
            skill[task] = data.label_log_prob[mine].clamp_min(-30.0).mean(0)
            if data.teacher_mask is not None:
                own[task] = stand_ins(data.teacher_mask[mine][:1])[0]
    skill = skill.gather(1, own)
    skill = skill - skill.mean(-1, keepdim=True)
    unit = (skill.square().mean(-1) * share).sum().sqrt()
    column = skill.flatten() / (unit if float(unit) > 1e-9 else 1.0)
    picked = torch.zeros(tasks, num_teachers, tasks, num_teachers, dtype=torch.float64)
    for task in range(tasks):
        picked[task, torch.arange(num_teachers), task, own[task]] = 1.0
        picked[task] /= (share[task].clamp_min(1e-3) / num_teachers).sqrt()
    picked = picked - picked.mean(1, keepdim=True)
    return torch.cat([column.unsqueeze(-1), picked.view(tasks * num_teachers, -1)], -1)


@dataclass(frozen=True)
class _Piece:
    """Some of the tokens, with what each scale reads, [n, K, F]."""

    start: int
    log_p: Tensor
    read: Mapping[Scale, Tensor]
    task: Tensor
    teacher_mask: Tensor | None


@dataclass
class _Squashed:
    """One scale's scores, as its gradient needs them."""

    tanh: Tensor
    depth: Tensor
    top: Tensor
    budget: float


class Likelihood:
    """mean log Σ_k w_k p_k(label) over the tokens, less (λ/2)·‖x‖², as a function of x.

    Cost O(N·K·F) a call, memory that of the observations.
    """

    def __init__(self, family: Family, data: Observations, shape: Layout | None = None) -> None:
        self.family, self.data = family, data
        self.shape = layout(family, data) if shape is None else replace(shape, family=family)
        goal = family.conforming(data.teacher_names)
        self.projecting = None if goal is None else Projecting(goal)
        self._read = {
            scale: torch.stack([data.features[name] for name in family.read_at(scale)], -1)
            for scale in family.scales
            if scale != "task"
        }

    def again(self, family: Family) -> Likelihood:
        """The same data under other budgets or bounds, the same features."""
        other = object.__new__(Likelihood)
        other.family, other.data, other._read = family, self.data, self._read
        other.shape = replace(self.shape, family=family)
        goal = family.conforming(self.data.teacher_names)
        other.projecting = None if goal is None else Projecting(goal)
        return other

    def value(self, x: Tensor) -> float:
        """The mean log-likelihood, without a penalty."""
        return float(self.token_log_likelihood(x).mean())

    def token_log_likelihood(self, x: Tensor) -> Tensor:
        """log Σ_k w_k p_k(label) of each token, [N]."""
        found = [self._mixed(piece, self._weigh(piece, x)[0])[0] for piece in self._pieces()]
        return torch.cat(found)

    def log_weights(self, x: Tensor) -> Tensor:
        """log w of each token, [N, K], before absent teachers are left out."""
        return torch.cat([self._weigh(piece, x)[0] for piece in self._pieces()])

    def gradient(self, x: Tensor, penalty: float = 0.0) -> tuple[float, Tensor]:
        """The penalized mean log-likelihood and its gradient."""
        total, sums = self._summed(x, None, 1)
        n = len(self.data)
        return total / n - penalty / 2 * float(x @ x), sums[0] / n - penalty * x

    def by_document(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of the documents' summed log-likelihoods, [D, P], and their tokens, [D]."""
        documents, place = self.data.document.unique(return_inverse=True)
        return self._summed(x, place, len(documents))[1], torch.bincount(place).double()

    def _pieces(self) -> Iterator[_Piece]:
        size = max(1, _CHUNK // self.data.count)
        for start in range(0, len(self.data), size):
            part = slice(start, start + size)
            yield _Piece(
                start,
                self.data.label_log_prob[part],
                {scale: value[part] for scale, value in self._read.items()},
                self.data.task[part],
                None if self.data.teacher_mask is None else self.data.teacher_mask[part],
            )

    def _weigh(self, piece: _Piece, x: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[Scale, _Squashed]]:
        """log w, the scores before the projection, which rows it moved, and each scale's own."""
        scores, parts = torch.zeros_like(piece.log_p), {}
        for scale, budget in self.shape.budgets(x).items():
            numbers = self.shape.strengths(x, scale)
            raw = numbers[piece.task] if scale == "task" else piece.read[scale] @ numbers
            top, place = raw.max(-1, keepdim=True)
            depth = (raw - top) / budget
            tanh = depth.tanh()
            scores += budget * tanh
            parts[scale] = _Squashed(tanh, depth, place, budget)
        if self.projecting is None:
            # Of rows as short as these a softmax by its own name takes several times as long.
            log_w = scores - scores.logsumexp(-1, keepdim=True)
            return log_w, scores, torch.zeros(0, dtype=torch.bool), parts
        log_w, moved = self.projecting(scores)
        return log_w, scores, moved, parts

    def _mixed(self, piece: _Piece, log_w: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """log q(label), log of w·p and of the weight of those that serve."""
        joint = log_w + piece.log_p
        mixed = joint.logsumexp(-1)
        if piece.teacher_mask is None:
            return mixed, joint, None
        present = log_w.masked_fill(~piece.teacher_mask, -torch.inf)
        return mixed - present.logsumexp(-1), joint, present

    def _summed(self, x: Tensor, group: Tensor | None, groups: int) -> tuple[float, Tensor]:
        """Σ log q(label), and its gradient summed over the tokens of each group, [groups, P]."""
        sums, total = torch.zeros(groups, self.shape.size, dtype=torch.float64), 0.0
        places = self.shape.slices()
        for piece in self._pieces():
            log_w, scores, moved, parts = self._weigh(piece, x)
            mixed, joint, present = self._mixed(piece, log_w)
            total += float(mixed.sum())
            pull = (joint - joint.logsumexp(-1, keepdim=True) if present is not None else joint - mixed[:, None]).exp()
            if present is not None:
                pull = pull - (present - present.logsumexp(-1, keepdim=True)).exp()
            if self.projecting is None:
                pull = pull - log_w.exp() * pull.sum(-1, keepdim=True)
            else:
                pull = self.projecting.pull(pull, scores, log_w, moved)
            mine = None if group is None else group[piece.start : piece.start + len(mixed)]
            self._scales(sums, piece, pull, parts, places, mine, x)
        return total, sums

    def _scales(
        self,
        sums: Tensor,
        piece: _Piece,
        pull: Tensor,
        parts: Mapping[Scale, _Squashed],
        places: Mapping[str, slice],
        mine: Tensor | None,
        x: Tensor,
    ) -> None:
        of_budgets = []
        for scale, part in parts.items():
            slope = 1 - part.tanh.square()
            of_budgets.append((pull * (part.tanh - part.depth * slope)).sum(-1))
            raw = pull * slope
            raw = raw.scatter_add(-1, part.top, -raw.sum(-1, keepdim=True))
            if scale == "task":
                self._add_bias(sums, piece, raw, places["task"], mine)
            else:
                unit = self.shape.units[scale]
                if mine is None:
                    sums[0, places[scale]] += (raw.flatten() @ piece.read[scale].flatten(0, 1)) / unit
                else:
                    moved = (raw.unsqueeze(-2) @ piece.read[scale]).squeeze(-2) / unit
                    sums[:, places[scale]].index_add_(0, mine, moved)
        if "shares" in places:
            budget = torch.tensor(self.family.whole, dtype=torch.float64)
            share = x[places["shares"]].softmax(-1)
            pulled = torch.stack(of_budgets, -1) * (budget * (1 - LEAST_SHARE))
            if mine is None:
                pulled = pulled.sum(0, keepdim=True)
            moved = share * (pulled - (pulled * share).sum(-1, keepdim=True))
            if mine is None:
                sums[0, places["shares"]] += moved[0]
            else:
                sums[:, places["shares"]].index_add_(0, mine, moved)

    def _add_bias(self, sums: Tensor, piece: _Piece, raw: Tensor, place: slice, mine: Tensor | None) -> None:
        shape = self.shape
        if mine is None:
            rows = torch.zeros(shape.tasks, shape.num_teachers, dtype=torch.float64).index_add_(0, piece.task, raw)
            sums[0, place] += rows.flatten() @ shape.bias
            return
        rows = torch.zeros(len(raw), shape.tasks, shape.num_teachers, dtype=torch.float64)
        rows[torch.arange(len(raw)), piece.task] = raw
        sums[:, place].index_add_(0, mine, rows.flatten(1) @ shape.bias)
