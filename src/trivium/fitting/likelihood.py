"""The likelihood of a family's mixture, and its gradient, written out: memory is that of the observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.fitting.family import LEAST_SHARE, Family, Layout
from trivium.fitting.observations import Observations
from trivium.fitting.projecting import Projecting, Pushed
from trivium.simplex.restriction import stand_ins
from trivium.weighting.features import Scale

#: Numbers [K · tokens] worked on at once: what fits into the cache of a core.
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
    """Return the map from (skill, departures) to biases [tasks·K], centred; an absent teacher has its stand-in's."""
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
    """Some tokens of one task, teachers first: sums over teachers then run along the memory.

    ``likelihood`` is p_k(label)/max_j p_j(label), [K, n], and ``top`` the log of that maximum, [n]; ``read`` what each
    scale reads, [F, K·n].
    """

    place: Tensor
    task: int
    likelihood: Tensor
    top: Tensor
    read: Mapping[Scale, Tensor]
    teacher_mask: Tensor | None


@dataclass(frozen=True)
class _Squashed:
    """One scale's scores, as its gradient needs them; [K, n], or [K, 1] where all tokens have the same."""

    tanh: Tensor
    depth: Tensor
    top: Tensor


@dataclass(frozen=True)
class _Weighed:
    """Weights y [K, n], and all that their gradient needs."""

    y: Tensor
    scores: Tensor
    pushed: Pushed | None
    parts: Mapping[Scale, _Squashed]


class Likelihood:
    """mean log Σ_k w_k p_k(label) over the tokens, less (λ/2)·‖x‖², as a function of x.

    Cost O(N·K·F) a call, memory twice that of the observations.
    """

    def __init__(self, family: Family, data: Observations, shape: Layout | None = None) -> None:
        self.family, self.data = family, data
        self.shape = layout(family, data) if shape is None else replace(shape, family=family)
        goal = family.conforming(data.teacher_names)
        self.projecting = None if goal is None else Projecting(goal)
        self._pieces = _pieces(family, data)

    def again(self, family: Family) -> Likelihood:
        """Return the same data under other budgets or bounds, the same features."""
        other = object.__new__(Likelihood)
        other.family, other.data, other._pieces = family, self.data, self._pieces
        other.shape = replace(self.shape, family=family)
        goal = family.conforming(self.data.teacher_names)
        other.projecting = None if goal is None else Projecting(goal)
        return other

    def value(self, x: Tensor) -> float:
        """Return the mean log-likelihood, without a penalty."""
        return float(self.token_log_likelihood(x).mean())

    def token_log_likelihood(self, x: Tensor) -> Tensor:
        """log Σ_k w_k p_k(label) of each token, [N]."""
        found = torch.empty(len(self.data), dtype=torch.float64)
        for piece in self._pieces:
            found[piece.place] = self._mixed(piece, self._weigh(piece, x).y)[0]
        return found

    def log_weights(self, x: Tensor) -> Tensor:
        """log w of each token, [N, K], before absent teachers are left out."""
        found = torch.empty(len(self.data), self.data.count, dtype=torch.float64)
        for piece in self._pieces:
            found[piece.place] = self._weigh(piece, x).y.log().T
        return found

    def gradient(self, x: Tensor, penalty: float = 0.0) -> tuple[float, Tensor]:
        """Return the penalized mean log-likelihood and its gradient."""
        total, sums = self._summed(x, None, 1)
        n = len(self.data)
        return total / n - penalty / 2 * float(x @ x), sums[0] / n - penalty * x

    def by_document(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of the documents' summed log-likelihoods, [D, P], and their tokens, [D]."""
        documents, place = self.data.document.unique(return_inverse=True)
        return self._summed(x, place, len(documents))[1], torch.bincount(place).double()

    def _weigh(self, piece: _Piece, x: Tensor) -> _Weighed:
        num_teachers, tokens = piece.likelihood.shape
        scores, parts = torch.zeros(num_teachers, tokens, dtype=torch.float64), {}
        for scale, budget in self.shape.budgets(x).items():
            numbers = self.shape.strengths(x, scale)
            raw = (
                numbers[piece.task].unsqueeze(-1)
                if scale == "task"
                else (numbers @ piece.read[scale]).view(scores.shape)
            )
            top, place = raw.max(0, keepdim=True)
            depth = (raw - top).div_(budget)
            tanh = depth.tanh()
            scores.add_(tanh, alpha=budget)
            parts[scale] = _Squashed(tanh, depth, place)
        # Budgets are some tens of nats at most: no score is so low that its exponential would vanish.
        y = scores.exp()
        y = y / y.sum(0)
        if self.projecting is None:
            return _Weighed(y, scores, None, parts)
        y, pushed = self.projecting(y, scores)
        return _Weighed(y, scores, pushed, parts)

    def _mixed(self, piece: _Piece, y: Tensor) -> tuple[Tensor, Tensor]:
        """log q(label) [n], and its gradient with respect to log y, [K, n]."""
        joint = y * piece.likelihood
        mixed = joint.sum(0)
        value = mixed.log() + piece.top
        if piece.teacher_mask is None:
            return value, joint.div_(mixed)
        present = y * piece.teacher_mask
        whole = present.sum(0)
        return value - whole.log(), joint.div_(mixed).sub_(present.div_(whole))

    def _summed(self, x: Tensor, group: Tensor | None, groups: int) -> tuple[float, Tensor]:
        """Σ log q(label), and its gradient summed over the tokens of each group, [groups, P]."""
        sums, total = torch.zeros(groups, self.shape.size, dtype=torch.float64), 0.0
        for piece in self._pieces:
            weighed = self._weigh(piece, x)
            value, pull = self._mixed(piece, weighed.y)
            total += float(value.sum())
            if weighed.pushed is None:
                pull = pull - weighed.y * pull.sum(0)
            else:
                pull = weighed.pushed.pull(pull)
            if group is None:
                self._add(sums[0], piece, pull, weighed, x)
            else:
                sums.index_add_(0, group[piece.place], self._each(piece, pull, weighed, x))
        return total, sums

    def _add(self, total: Tensor, piece: _Piece, pull: Tensor, weighed: _Weighed, x: Tensor) -> None:
        """Adds the gradient with respect to x, summed over the tokens of a piece."""
        places, of_budgets = self.shape.slices(), []
        for scale, part in weighed.parts.items():
            mine = pull.sum(1, keepdim=True) if scale == "task" else pull
            raw = mine * (1 - part.tanh.square())
            of_budgets.append(
                torch.dot(mine.flatten(), part.tanh.flatten()) - torch.dot(raw.flatten(), part.depth.flatten())
            )
            raw.scatter_add_(0, part.top, -raw.sum(0, keepdim=True))
            if scale == "task":
                total[places["task"]] += raw[:, 0] @ self._biases(piece.task)
            else:
                total[places[scale]] += (piece.read[scale] @ raw.flatten()) / self.shape.units[scale]
        if "shares" in places:
            total[places["shares"]] += self._of_shares(torch.stack(of_budgets), x)

    def _each(self, piece: _Piece, pull: Tensor, weighed: _Weighed, x: Tensor) -> Tensor:
        """Return the same of each token, [n, P]."""
        places, of_budgets = self.shape.slices(), []
        found = torch.zeros(pull.shape[1], self.shape.size, dtype=torch.float64)
        for scale, part in weighed.parts.items():
            slope = 1 - part.tanh.square()
            of_budgets.append((pull * (part.tanh - part.depth * slope)).sum(0))
            raw = pull * slope
            raw.scatter_add_(0, part.top.expand(1, raw.shape[1]), -raw.sum(0, keepdim=True))
            if scale == "task":
                found[:, places["task"]] = raw.T @ self._biases(piece.task)
            else:
                read = piece.read[scale].view(-1, *raw.shape)
                found[:, places[scale]] = (read * raw).sum(1).T / self.shape.units[scale]
        if "shares" in places:
            found[:, places["shares"]] = self._of_shares(torch.stack(of_budgets, -1), x)
        return found

    def _biases(self, task: int) -> Tensor:
        """Return how the biases of a task follow from x, [K, numbers]."""
        return self.shape.bias.view(self.shape.tasks, self.shape.num_teachers, -1)[task]

    def _of_shares(self, pulled: Tensor, x: Tensor) -> Tensor:
        """Return the gradient with respect to the shares' logits, from that with respect to the budgets, both
        [..., S]."""
        share = x[self.shape.slices()["shares"]].softmax(-1)
        pulled = pulled * (self.family.whole * (1 - LEAST_SHARE))
        found: Tensor = share * (pulled - (pulled * share).sum(-1, keepdim=True))
        return found


def _pieces(family: Family, data: Observations) -> list[_Piece]:
    size, found = max(1, _CHUNK // data.count), []
    for task in range(len(data.tasks)):
        for place in torch.split((data.task == task).nonzero().flatten(), size):
            if not len(place):
                continue
            log_p = data.label_log_prob[place].T.contiguous()
            top = log_p.amax(0)
            read: dict[Scale, Tensor] = {
                scale: torch.stack([data.features[name][place].T.flatten() for name in family.read_at(scale)])
                for scale in family.scales
                if scale != "task"
            }
            teacher_mask = None if data.teacher_mask is None else data.teacher_mask[place].T.double()
            found.append(_Piece(place, task, (log_p - top).exp_(), top, read, teacher_mask))
    return found
