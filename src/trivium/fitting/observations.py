"""What weights are fitted to: what the teachers said of each token, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trivium.errors import require
from trivium.former import renamed
from trivium.simplex.typed import Typed


@renamed(teachers="teacher_names", serving="teacher_mask")
@dataclass(frozen=True, eq=False)
class Observations(Typed):
    """N tokens (or labelled examples, each one token) that K teachers have read.

    Args:
        label_log_prob: log p_k(label) of each token and teacher, [N, K], nats; −inf where a teacher rules it out.
        features: by name, what rules may look at, [N, K].
        document: number of each token's document, [N]; what is held out is whole documents.
        domain, task: numbers of each token's domain and task, [N]; ``domains`` and ``tasks`` are their names.
        teacher_mask: bool [N, K], which teachers serve a token's task; None where all do. A teacher that does not must
            have finite features all the same, as its stand-in has; its log-probability is not looked at.
        teacher_names: K names.

    All are kept as float64 or int64 on the CPU. A token on which every serving teacher has −inf is left out, since no
    weights can change that, and counted in ``impossible``.

    Raises:
        InputError: shapes that differ, NaN, +inf, a feature that is not finite, a token that no teacher serves, no
            token at all.
    """

    label_log_prob: Tensor
    features: Mapping[str, Tensor]
    document: Tensor
    domain: Tensor
    task: Tensor
    teacher_names: Sequence[str]
    domains: Sequence[str] = ("all",)
    tasks: Sequence[str] = ("all",)
    teacher_mask: Tensor | None = None
    impossible: int = field(default=0)

    def __post_init__(self) -> None:
        log_p = self.label_log_prob.detach().double().cpu()
        require(
            log_p.ndim == 2 and log_p.shape[1] == len(self.teacher_names) > 0,
            f"log-probabilities must be [tokens, {len(self.teacher_names)} teachers]",
            tuple(log_p.shape),
        )
        teacher_mask = None if self.teacher_mask is None else self.teacher_mask.bool().cpu()
        if teacher_mask is not None:
            require(
                teacher_mask.shape == log_p.shape, "serving must be shaped as the log-probabilities", teacher_mask.shape
            )
            require(bool(teacher_mask.any(-1).all()), "every token must have a teacher that serves it", "one without")
            log_p = log_p.masked_fill(~teacher_mask, -torch.inf)
            teacher_mask = None if bool(teacher_mask.all()) else teacher_mask
        require(
            bool((log_p <= 0).all()), "log-probabilities must be ≤ 0", "NaN or a positive one", "Give log p(label)."
        )
        possible = log_p.amax(-1) > -torch.inf
        features = {name: value.detach().double().cpu() for name, value in self.features.items()}
        for name, value in features.items():
            require(value.shape == log_p.shape, f"feature {name!r} must be shaped {tuple(log_p.shape)}", value.shape)
            require(bool(value.isfinite().all()), f"feature {name!r} must be finite", "NaN or infinite", "Clip it.")
        numbers = {"document": self.document, "domain": self.domain, "task": self.task}
        for name, value in numbers.items():
            require(value.shape == log_p.shape[:1], f"{name} must give a number a token", tuple(value.shape))
        for name, names in (("domain", self.domains), ("task", self.tasks)):
            within = bool(((numbers[name] >= 0) & (numbers[name] < len(names))).all())
            require(within, f"{name} must number one of the {len(names)} named", f"outside 0…{len(names) - 1}")
        require(bool(possible.any()), "there must be a token that a teacher finds possible", "none", "Give more data.")
        keep = slice(None) if bool(possible.all()) else possible
        object.__setattr__(self, "label_log_prob", log_p[keep])
        object.__setattr__(self, "features", {name: value[keep] for name, value in features.items()})
        object.__setattr__(self, "teacher_mask", None if teacher_mask is None else teacher_mask[keep])
        object.__setattr__(self, "impossible", self.impossible + int((~possible).sum()))
        for name, value in numbers.items():
            object.__setattr__(self, name, value.detach().long().cpu()[keep])

    def __len__(self) -> int:
        return len(self.label_log_prob)

    @property
    def count(self) -> int:
        """K."""
        return self.label_log_prob.shape[1]

    @property
    def documents(self) -> int:
        """How many different documents there are."""
        return len(self.document.unique())

    def where(self, chosen: Tensor) -> Observations:
        """Return the tokens chosen by a bool [N] or by numbers."""
        return replace(
            self,
            label_log_prob=self.label_log_prob[chosen],
            features={name: value[chosen] for name, value in self.features.items()},
            document=self.document[chosen],
            domain=self.domain[chosen],
            task=self.task[chosen],
            teacher_mask=None if self.teacher_mask is None else self.teacher_mask[chosen],
            impossible=0,
        )

    def uniform(self) -> Tensor:
        """log of the mean of the serving teachers' p(label), [N]."""
        teacher_mask = self.count if self.teacher_mask is None else self.teacher_mask.sum(-1).double()
        return self.label_log_prob.logsumexp(-1) - torch.as_tensor(teacher_mask, dtype=torch.float64).log()

    def folds(self, number: int, seed: int = 0) -> Tensor:
        """Return the fold of each token, [N], in 0…number − 1: whole documents, spread over each domain; the same for
        the same documents whatever the order of the tokens."""
        fold = torch.empty_like(self.document)
        draw, before = torch.Generator().manual_seed(seed), 0
        for domain in range(len(self.domains)):
            mine = self.domain == domain
            documents, place = self.document[mine].unique(return_inverse=True)
            # Each domain goes on where the last one ended, so that no fold is empty while there are documents enough.
            dealt = (torch.arange(len(documents)) + before) % number
            before += len(documents)
            fold[mine] = dealt[torch.randperm(len(documents), generator=draw)][place]
        return fold

    def held_out(self, share: float = 0.25, seed: int = 0) -> tuple[Observations, Observations]:
        """(what is fitted, what judges): about this share of each domain's documents judges and is never fitted.

        Raises:
            InputError: a single document, or a share outside (0, 1).
        """
        require(0.0 < share < 1.0, "the share held out must lie in (0, 1)", share, "Use a quarter.")
        require(self.documents > 1, "holding out needs two documents", self.documents, "Give more data.")
        parts = max(2, round(1 / share)) if share <= 0.5 else max(2, round(1 / (1 - share)))
        fold = self.folds(parts, seed)
        judging = fold == 0 if share <= 0.5 else fold != 0
        if not bool(judging.any()) or bool(judging.all()):
            judging = self.document == self.document.max()
        return self.where(~judging), self.where(judging)

    def drawn(self, most: int, seed: int = 0) -> Observations:
        """Whole documents of about ``most`` tokens, drawn over all domains; itself where it has no more."""
        if len(self) <= most:
            return self
        parts = min(self.documents, 400)
        fold = self.folds(parts, seed)
        sizes = torch.bincount(fold, minlength=parts).cumsum(0)
        last = max(1, int((sizes <= most).sum()))
        return self.where(fold < last)
