"""Several weighted teachers for any training loop: one object, called with the student's logits and the batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from trivium.aggregation import make_pool
from trivium.errors import InputError, require
from trivium.scheme import Scheme
from trivium.simplex.typed import Typed
from trivium.teachers.handing import Intake, decoding, inputs_of, logits_of, moved, parameters_behind
from trivium.teachers.panel import Answering, Asked, Panel, answers_for_examples, answers_in_place, cut
from trivium.teachers.vocabulary import HasVocabulary, vocabulary_size
from trivium.training.batches import BatchReader, predicted, require_batch
from trivium.training.collect import Batch, collect_features, weigh
from trivium.training.evaluate import nll
from trivium.training.guard import Guard, Safety
from trivium.training.learning import Teaching
from trivium.training.memory import Entries, Recall
from trivium.training.monitor import Action, Monitor
from trivium.training.recipe import LossSection
from trivium.training.settings import loss_of, losses_of, place_of, watchers
from trivium.training.shares import Shares
from trivium.training.step import StepOutput, Watcher, distillation_step, require_finite
from trivium.weighting.features import NEEDS_STUDENT

#: Batches without a lesson after which it is said that the rules are not learning.
_UNTAUGHT = 64


class Distiller(Typed):
    """Weighted teachers, attached to a loop that exists: ``out = distiller(student(**inputs).logits, batch)``.

    A batch is a mapping, as loaders and tokenizers make it. Of it are read ``labels`` (−100 predicts nothing; shifted
    here, in :func:`trivium.training.batches.predicted`, as transformers shifts them, unless they come as
    ``shift_labels``), ``domain`` and ``task`` (indices [B], or names), ``teacher_mask`` (bool [B, K]: who serves a row)
    and the columns [B, K] that rules read. Logits are [B, T, V], or [B, C] of examples, whose labels are [B].

    Teachers answer in evaluation mode, without gradients, in the caller's autocast and on their own device. Features,
    weights and loss are computed as certified, in float32 (float64 where the student is) with autocast off.

    Args:
        scheme: how to weigh; see :func:`trivium.compose`.
        teachers: for each of the scheme's names a module, a callable, a folder, a hub id or ``InBatch(column)``; None:
            the batch's columns ``NAME_logits``. See :class:`trivium.teachers.panel.Panel`.
        loss: what :class:`~trivium.training.recipe.LossSection` lists, as a ``Loss`` or a mapping.
        on_violation: ``raise``, ``repair`` or ``record`` what the axioms' monitor finds, or a monitor of your own.
        validation_loss: the teachers' losses a task, [tasks, K], where a rule reads them; :meth:`measure` finds them.
        shift: whether labels of a text are moved to the position that predicts them; None: unless a model of
            transformers among student and teachers labels the positions that it reads.
        tokenizer, vocabulary: how many columns of the logits are real; surplus ones are cut off for everybody. None:
            all, and everybody must have as many.
        tasks, domains: their names, in the order of their indices.
        student: what learns, where it is at hand: it is refused as its own teacher.
        admission: whether teachers are asked about the first batch what every model is asked when it is loaded.
        device: where teachers that are named go; None: to the student's logits.
        recall: where past rows are found, for rules that learn; None: the distiller keeps those that it needs.
        safety: what the student must not do on critical inputs, and whether that is enforced.

    Raises:
        InputError: teachers that are not the scheme's; settings that do not exist. InfeasibleError: bounds that no
            weights meet.
    """

    def __init__(
        self,
        scheme: Scheme,
        teachers: Mapping[str, Any] | Answering | None = None,  # each a Given, as the panel checks by name
        *,
        loss: LossSection | Mapping[str, Any] | None = None,
        on_violation: Action | Watcher = "raise",
        validation_loss: Tensor | None = None,
        shift: bool | None = None,
        tokenizer: HasVocabulary | None = None,
        vocabulary: int | None = None,
        tasks: Sequence[str] = (),
        domains: Sequence[str] = (),
        student: torch.nn.Module | None = None,
        admission: bool = True,
        device: torch.device | str | None = None,
        recall: Recall | None = None,
        safety: Safety | None = None,
    ) -> None:
        require(isinstance(scheme, Scheme), "a distiller must have a scheme", type(scheme).__name__, "tv.compose it.")
        self.scheme, self.loss, self.shift, self.student = scheme, loss_of(loss), shift, student
        self.reader = BatchReader(scheme, self.loss.label > 0, tuple(tasks), tuple(domains))
        self.vocabulary = vocabulary_size(tokenizer) if vocabulary is None and tokenizer is not None else vocabulary
        if teachers is None or isinstance(teachers, Mapping):
            place = None if device is None else place_of(device)
            self.source: Answering = Panel(
                scheme.teacher_names, teachers, [*self.reader.columns], place, tokenizer, admission=admission
            )
        else:
            require(isinstance(teachers, Answering), "teachers must be a mapping", type(teachers).__name__, "By name.")
            self.source = teachers
        wide = self.vocabulary
        require(wide is None or wide > 0, "a vocabulary must have tokens", wide, "Say how many columns are real.")
        self.monitor, self._aside = watchers(scheme, on_violation)
        self.shares = Shares(scheme)
        self.teaching = Teaching(scheme, recall)
        self.guard = None if safety is None else Guard(safety, self.loss)
        self.apart = self.source.apart if isinstance(self.source, Panel) else frozenset(self.reader.columns)
        self.validation_loss = losses_of(validation_loss, len(scheme.teacher_names))
        self.batches, self._untaught, self._met, self._columns = 0, 0, False, 0
        self._examples: bool | None = None  # whether the last logits were [B, C]
        self._refuse_student()

    @property
    def shifts(self) -> bool:
        """Whether labels of a text are moved to the position that predicts them."""
        if self.shift is not None:
            return self.shift
        aligned = isinstance(self.source, Panel) and self.source.aligned()
        return not aligned and not answers_in_place(self.student)

    def __call__(
        self, student_logits: Any, batch: Mapping[str, Any], normalizer: Tensor | float | None = None
    ) -> StepOutput:
        """Return the loss of one batch, and what it came from.

        Where the student's logits have a gradient, the batch counts for :meth:`record` and :meth:`learn`; else it is
        taken for evaluation.

        Args:
            student_logits: [B, T, V] or [B, C], or an output that holds them.
            normalizer: predicted positions in the whole optimizer step, where it takes several batches; None counts
                those of this one, see :meth:`count`.

        Raises:
            InputError: a batch that lacks something. TeacherError: a teacher that is not admitted, or logits that are
                no distribution. VocabularyError: another number of columns. AxiomViolation: from the monitor.
        """
        given = logits_of(student_logits, "the student")
        training = given.requires_grad
        self._refuse_student(given)
        logits, content = self._read(batch, given)
        assert logits is not None
        losses = self._losses_for(content, batch)
        with torch.autocast(logits.device.type, enabled=False):
            step = distillation_step(
                logits,
                content,
                self.scheme,
                self.loss,
                losses,
                self.monitor if training else self._aside,
                normalizer,
                self.guard,
                None if self.guard is None else self.guard.mark(batch, content),
                training,
            )
        require_finite(step, content, self.batches + 1)
        if training:
            self.batches += 1
            self.shares.add(step, content.mask, content.teacher_mask, normalizer)
            self.teaching.see(batch, len(logits))
            self._warn_untaught()
        return step

    def count(self, batch: Mapping[str, Any]) -> int:
        """Return the positions of a batch that are predicted: what the loss is averaged over."""
        labels = self.predicted(batch)
        require(labels is not None, "a batch must hold labels to count", sorted(batch), "Add 'labels'.")
        return int((cast(Tensor, labels) >= 0).sum())

    def predicted(self, batch: Mapping[str, Any]) -> Tensor | None:
        """Return what each position predicts, [B, T] or [B], see :func:`trivium.training.batches.predicted`; None where
        the batch does not say. Whether rows are examples is told by the last logits, before them by what the student
        is."""
        require_batch(batch)
        examples = self._examples
        if examples is None:
            column = batch.get("labels")
            examples = answers_for_examples(self.student) or (isinstance(column, Tensor) and column.shape[1:] == (1,))
        return predicted(batch, self.shifts, examples)

    def mixture(self, batch: Mapping[str, Any], student_logits: Any = None) -> Tensor:
        """Return log-probabilities [B, T, V] of the weighted teachers themselves, pooled as they are; no gradient.

        Args:
            student_logits: needed by rules that read the student; without it the first teacher's tell the shape.
        """
        needed = set(self.scheme.ranges) & NEEDS_STUDENT
        fix = "Give student_logits."
        require(student_logits is not None or not needed, "a rule that reads the student needs it", sorted(needed), fix)
        with torch.no_grad():
            given = None if student_logits is None else logits_of(student_logits, "the student")
            logits, content = self._read(batch, given)
            with torch.autocast(content.labels.device.type, enabled=False):
                features = collect_features(self.scheme, content, logits, self._losses_for(content, batch))
                weights = weigh(self.scheme, features).expand(*content.labels.shape, len(self.scheme.teacher_names))
                weights = self._aside.watch(weights, content.mask, content.teacher_mask).flatten(0, 1)
                log_p = [z.flatten(0, 1).float().log_softmax(-1) for z in content.teacher_logits]
                pooled = make_pool(self.loss.pool, self.loss.exponent).pool(log_p, weights)
        return pooled.view(*content.labels.shape, -1)

    @torch.no_grad()
    def measure(self, batches: Iterable[Mapping[str, Any]]) -> Tensor:
        """Return each teacher's mean nats a token on each task of validation batches, [tasks, K]; kept for rules that
        read it.

        Raises:
            InputError: no batch, or a task without one.
        """
        kind = type(batches).__name__
        fits = isinstance(batches, Iterable) and not isinstance(batches, Mapping | str | bytes)
        require(fits, "validation batches must be several", kind, "Give a loader, or [batch].")
        sums: dict[int, Tensor] = {}
        tokens: dict[int, int] = {}
        for batch in batches:
            _, content = self._read(batch)
            scored = torch.stack([nll(z.float().log_softmax(-1), content.labels) for z in content.teacher_logits], 1)
            for task in content.task.unique().tolist():
                chosen = content.task == task
                sums[task] = sums.get(task, 0.0) + scored[chosen].sum(0).cpu()
                tokens[task] = tokens.get(task, 0) + int(content.mask[chosen].sum())
        count = len(self.reader.tasks) or max(tokens, default=-1) + 1
        lacking = [task for task in range(count) if tokens.get(task, 0) == 0]
        require(count > 0 and not lacking, "every task must have validation text", f"none for {lacking}", "Add some.")
        found = torch.stack([sums[task] / tokens[task] for task in range(count)]).float()
        self.validation_loss = found
        return found

    def read(self, batch: Mapping[str, Any]) -> Batch:
        """Return what a step reads of a batch: labels where they are predicted, teachers' logits, domain, task,
        columns."""
        return self._read(batch)[1]

    def learn(self, student: torch.nn.Module, learning_rate: float, step: int | None = None) -> None:
        """Teach the rules that learn, on the last batch, and move safety's multiplier; call it after an optimizer step.

        Args:
            learning_rate: of the student now.
            step: optimizer steps so far; None counts the calls.
        """
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.teaching.require_one_process(torch.distributed.get_world_size() if distributed else 1)
        self._untaught = -1
        if self.guard is not None:
            self.guard.after_step()
        if not self.teaching.rules or len(self.teaching.last) == 0:
            return
        reading, device = Intake.of(student), next(student.parameters()).device

        def logits(parameters: Mapping[str, Tensor], batch: Entries) -> Tensor:
            given = reading.arguments(moved(self.inputs(batch, student), device), "the student")
            output = torch.func.functional_call(student, dict(parameters), (), given)
            return _three(logits_of(output, "the student")[..., : self._columns])

        self.teaching.training_state(
            student,
            learning_rate,
            logits,
            lambda batch: [_three(z) for z in self.source.answers(self._asked(batch, device))],
            lambda batch: self._labels(batch).to(device),
            lambda batch: self.reader.index(batch, "task", len(self._labels(batch))).to(device),
            step,
        )

    def inputs(self, batch: Mapping[str, Any], model: torch.nn.Module | None = None) -> dict[str, Any]:
        """Return what models may read of a batch: all but answers, and columns that rules or stored teachers read.

        Args:
            model: who reads; an encoder-decoder gets its decoder's inputs too.
        """
        require_batch(batch)
        return dict(decoding(model, inputs_of(batch, self.apart), batch.get("labels"), "the student"))

    def reads(self) -> set[str]:
        """Return the entries of a batch that teachers and rules ask for by name, beside labels and marks."""
        found = self.source.reads() if isinstance(self.source, Panel) else set()
        return found | set(self.reader.columns)

    def suffices(self, batch: Mapping[str, Any]) -> bool:
        """Return whether a batch holds the labels and columns that a loss needs, as far as its names tell."""
        require_batch(batch)
        told = not self.reader.needs_labels or self.predicted(batch) is not None
        return told and all(batch.get(name) is not None for name in self.apart)

    def record(self) -> dict[str, Any]:
        """Return what was seen since the last call: losses a step, shares over positions and largest influence of each
        scale; of how many ``steps`` and ``positions``; worst residual of each axiom, and the violations that were
        repaired or recorded."""
        worst, violations = {}, list[dict[str, Any]]()
        if isinstance(self.monitor, Monitor):
            worst, violations = self.monitor.take_worst(), self.monitor.take_violations()
        unsafe = {} if self.guard is None else {"safety": self.guard.take()}
        return self.shares.take() | {"axioms": worst, "violations": violations} | unsafe

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a run changes here, to go on from: learned rules, validation losses, what was
        recorded."""
        return {
            "teaching": self.teaching.state(),
            "monitor": self.monitor.state() if isinstance(self.monitor, Monitor) else {},
            "shares": self.shares.state(),
            "validation_loss": self.validation_loss,
            "batches": self.batches,
            "teachers": list(self.scheme.teacher_names),
            **({} if self.guard is None else {"safety": self.guard.state()}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state_dict`.

        Raises:
            InputError: no state of a distiller, or one of other teachers.
        """
        require(
            isinstance(state, Mapping), "a state must be a distiller's", type(state).__name__, "state_dict() of one."
        )
        lacking = sorted({"teaching", "monitor", "shares", "validation_loss", "batches"} - set(state))
        require(not lacking, "a state must be a distiller's", f"one without {lacking}", "Give its state_dict().")
        names, fix = list(self.scheme.teacher_names), "Restore one of this scheme."
        told = state.get("teachers", names)  # earlier states name none
        require(told == names, f"a state must be of the teachers {names}", told, fix)
        taught = len(state["teaching"]["rules"])
        require(taught == len(self.teaching.rules), "a state must be of the rules that learn here", taught, fix)
        self.teaching.restore(state["teaching"])
        if isinstance(self.monitor, Monitor):
            self.monitor.restore(state["monitor"])
        if self.guard is not None:
            self.guard.restore(state.get("safety"))
        self.shares.restore(state["shares"])
        self.validation_loss, self.batches = state["validation_loss"], int(state["batches"])

    def _read(self, batch: Mapping[str, Any], student: Tensor | None = None) -> tuple[Tensor | None, Batch]:
        """Return the student's logits [B, T, V], columns cut, and what the step reads of the batch."""
        require_batch(batch)
        sizes = [len(v) for v in batch.values() if isinstance(v, Tensor) and v.ndim]
        require(not sizes or max(sizes) > 0, "a batch must have rows", "none", "Leave it out of the loop.")
        device = None if student is None else student.device
        if student is not None and student.ndim not in (2, 3):
            raise InputError("logits must be [B, T, V], or [B, C] of examples", list(student.shape), "Mind the axes.")
        asked = self._asked(batch, device, None if student is None else tuple(student.shape))
        answers = self.source.answers(asked)
        self._examples = (answers[0] if student is None else student).ndim == 2
        teachers = [_three(logits) for logits in answers]
        self._columns = teachers[0].shape[-1]
        if student is not None:
            student = _three(cut(student, None, self._columns, "the student"))
        like = teachers[0] if student is None else student
        return student, self.reader.read(batch, self.shifts, like, teachers, self._examples)

    def load(self, device: torch.device | str = "cpu") -> None:
        """Load the teachers that are given by name now, and not with the first batch."""
        if isinstance(self.source, Panel):
            self.source.load(place_of(device))

    def _asked(
        self, batch: Mapping[str, Any], device: torch.device | None, shape: tuple[int, ...] | None = None
    ) -> Asked:
        self.load(device or "cpu")  # what they are tells whether labels are moved
        causal = self.shifts or batch.get("shift_labels") is not None
        return Asked(batch, device, shape, causal, self.vocabulary)

    def _labels(self, batch: Mapping[str, Any]) -> Tensor:
        labels = self.predicted(batch)
        if labels is None:
            raise InputError("a batch must hold labels for rules that learn", sorted(batch), "Add 'labels'.")
        return labels if labels.ndim > 1 else labels.unsqueeze(-1)

    def _losses_for(self, content: Batch, batch: Mapping[str, Any]) -> Tensor:
        """Return the teachers' validation losses on the batch's device; zeros where no rule reads them."""
        device = content.labels.device
        if "validation_loss" not in self.scheme.ranges and self.validation_loss is None:
            return torch.zeros(1, len(self.scheme.teacher_names), device=device)
        if self.validation_loss is None:
            raise InputError(
                "a rule that reads the teachers' validation losses needs them",
                "none",
                "Call distiller.measure(validation_batches) first, or give validation_loss [tasks, K].",
            )
        if "validation_loss" in self.scheme.ranges:
            told = len(self.validation_loss) == 1 or batch.get("task") is not None
            require(told, "a batch must hold each row's task, by which losses were measured", sorted(batch), "Add it.")
            known, highest = len(self.validation_loss), int(content.task.max()) if len(content.task) else 0
            require(highest < known, f"a row's task must be one of {known} measured ones", highest, "Measure them all.")
        return self.validation_loss.to(device)

    def _refuse_student(self, logits: Tensor | None = None) -> None:
        """Refuse a teacher whose parameters the student trains, told by ``student``, or by the first batch's graph."""
        if self._met:
            return
        trained: list[Tensor] = (
            [] if self.student is None else [p for p in self.student.parameters() if p.requires_grad]
        )
        if logits is not None:
            trained, self._met = [*trained, *parameters_behind(logits)], logits.requires_grad
        known = {id(parameter) for parameter in trained}
        for name, modules in self.source.modules().items():
            if any(id(parameter) in known for module in modules for parameter in module.parameters()):
                raise InputError(
                    f"teacher {name!r} must be another model than the student",
                    "one whose parameters the student trains",
                    "It would follow the student, who has nothing to learn from it: give copy.deepcopy(model).",
                )

    def _warn_untaught(self) -> None:
        if not self.teaching.rules or self._untaught < 0:
            return
        self._untaught += 1
        if self._untaught > _UNTAUGHT:
            self._untaught = -1
            names = ", ".join(rule.name for rule in self.teaching.rules)
            warnings.warn(
                f"{names} learns while the student trains, and {_UNTAUGHT} batches went by without a lesson: call "
                "distiller.learn(student, learning_rate) after the optimizer's step",
                stacklevel=3,
            )


def _three(logits: Tensor) -> Tensor:
    """[B, T, V]: an example is a row of one position."""
    return logits.unsqueeze(1) if logits.ndim == 2 else logits
