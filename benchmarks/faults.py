"""Fifty small, plausible mistakes: where each stands, what is put there, and which tests should notice first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A text of a file below ``src/trivium`` that stands there once, and what is put in its place.

    ``tests``: files or folders below ``tests``, those that should notice first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"unit/{name}" for name in names)


_LOSS = _unit("losses/test_streaming_accuracy.py", "losses/test_streaming_contract.py")
_POOL = _unit("aggregation/test_power_pool.py", "losses/test_power_pool_losses.py")
_PROJECTION = _unit("simplex/test_conforming_projection.py", "simplex/test_conforming_set.py")
_AXIOMS = ("axioms", "unit/axioms/test_axiom_residuals.py")
_CALCULUS = _unit("scheme/test_constants_of_compositions.py", "certification/test_calculus.py")
_MATRIX = "certification/test_verify_table.py::test_a_product_with_a_matrix_holds_the_exact_number"
_SAMPLED = "test_no_number_leaves_the_bounds_of_an_entry_at_ten_thousand_points[aten.mm.default]"
_TABLE = _unit("certification/test_verify_soundness.py", "certification/test_verify_table.py")
_FALSIFY = _unit("certification/test_falsify_search.py")
_SHARES = _unit("training/test_evaluate_and_shares.py")

FAULTS: tuple[Fault, ...] = (
    Fault(
        "the gradient of the forward KL has the other sign",
        "losses/kernels.py",
        "_balance(difference.neg_(), work.student)",
        "_balance(difference, work.student)",
        _LOSS,
    ),
    Fault(
        "a loss is scaled by T and not by T²",
        "losses/streaming.py",
        "values.mul_(settings.temperature**2)",
        "values.mul_(settings.temperature)",
        _LOSS,
    ),
    Fault(
        "a float16 gradient is divided early",
        "losses/streaming.py",
        "late = student_logits.dtype == torch.float16",
        "late = False",
        _LOSS[::-1],
    ),
    Fault(
        "rows with one hole count as adjacent",
        "losses/blocks.py",
        "last - first + 1 == place.stop - start",
        "last - first == place.stop - start",
        _LOSS,
    ),
    Fault(
        "weights may miss one by a tenth",
        "losses/inputs.py",
        "_WEIGHT_SUM_TOLERANCE = 1e-3",
        "_WEIGHT_SUM_TOLERANCE = 1e-1",
        _LOSS[::-1],
    ),
    Fault(
        "the power pool trusts log1p where it has lost its digits",
        "aggregation/power.py",
        "_LOST = -15.0 / 16.0",
        "_LOST = -1.5",
        _POOL,
    ),
    Fault(
        "uniform mixing keeps e^−ε and not 1 − ε",
        "aggregation/softening/uniform.py",
        "log_p + math.log1p(-share)",
        "log_p - share",
        _unit("aggregation/test_softening_operators.py"),
    ),
    Fault(
        "a projection gives small weights up",
        "simplex/projection.py",
        "ZERO_DEPTH = 700.0",
        "ZERO_DEPTH = 70.0",
        _PROJECTION,
    ),
    Fault(
        "a tier is sorted the other way",
        "simplex/projection.py",
        "argsort(dim=-1, stable=True)",
        "argsort(dim=-1, stable=True, descending=True)",
        _PROJECTION,
    ),
    Fault(
        "the max–min formula looks one place too far",
        "simplex/isotonic.py",
        ".tril(-1)",
        ".tril(-2)",
        _PROJECTION,
    ),
    Fault(
        "total variation of a Hilbert distance is too large",
        "simplex/geometry.py",
        "math.tanh(distance / 4)",
        "math.tanh(distance / 2)",
        _unit("simplex/test_simplex_geometry.py"),
    ),
    Fault(
        "an active set frees what is rightly at its bound",
        "simplex/min_norm.py",
        "torch.where(side < 0, level - slopes, slopes - level)",
        "torch.where(side < 0, slopes - level, level - slopes)",
        _unit("simplex/test_min_norm_weights.py"),
    ),
    Fault(
        "a sum of lower bounds is not rounded down",
        "simplex/rounding.py",
        "return torch.where(error < 0, _next_down(total), total)",
        "return total",
        _unit("simplex/test_outward_rounding.py"),
    ),
    Fault(
        "the advice of a margin is found from the wrong side",
        "simplex/conforming.py",
        "(middle, high) if self._feasible(middle) else (low, middle)",
        "(low, middle) if self._feasible(middle) else (middle, high)",
        _unit("simplex/test_conforming_set.py"),
    ),
    Fault(
        "a safety order is read from right to left",
        "simplex/order.py",
        'for tier in text.split(">")]',
        'for tier in text.split(">")[::-1]]',
        _unit("simplex/test_safety_order.py"),
    ),
    Fault(
        "bounded influence asks for one of floor and cap",
        "axioms/pointwise.py",
        "torch.maximum(self.floor - w.amin(dim=-1), w.amax(dim=-1) - self.cap)",
        "torch.minimum(self.floor - w.amin(dim=-1), w.amax(dim=-1) - self.cap)",
        _AXIOMS,
    ),
    Fault(
        "regularity allows twice its constant",
        "axioms/regularity.py",
        "moved - self.constant * allowed",
        "moved - 2 * self.constant * allowed",
        _AXIOMS,
    ),
    Fault(
        "entropy prefers the teacher that is unsure",
        "weighting/token/entropy.py",
        'return -self.strength * features["entropy"]',
        'return self.strength * features["entropy"]',
        _unit("weighting/test_score_rules.py", "catalogue/test_catalogue_rows.py"),
    ),
    Fault(
        "evidence of a prefix holds the token itself",
        "weighting/context/posterior.py",
        "before, through - label_log_prob)",
        "before, through)",
        _unit("weighting/test_prefix_posterior.py"),
    ),
    Fault(
        "the entropy of a teacher has a wrong normalizer",
        "weighting/statistics.py",
        "(-top.log() - mean)",
        "(top.log() - mean)",
        _unit("weighting/test_token_statistics.py"),
    ),
    Fault(
        "a bias keeps its best order and not its worst",
        "weighting/context/fitted_scores.py",
        "(rows.unsqueeze(-1) - rows.unsqueeze(-2)).amin(dim=0)",
        "(rows.unsqueeze(-1) - rows.unsqueeze(-2)).amax(dim=0)",
        _unit("weighting/test_fitted_scores.py"),
    ),
    Fault(
        "a limit lets twice the budget through",
        "scheme/limit.py",
        ".clamp_min(-self.budget)",
        ".clamp_min(-2 * self.budget)",
        _CALCULUS,
    ),
    Fault(
        "a mixture contracts more than it does",
        "scheme/mix.py",
        "+ 2 * share)",
        "+ 4 * share)",
        _CALCULUS,
    ),
    Fault(
        "two unbounded parts count as proper",
        "scheme/product.py",
        "sum(map(math.isinf, influences)) <= 1",
        "sum(map(math.isinf, influences)) <= 2",
        _CALCULUS,
    ),
    Fault(
        "a product of unbounded parts is called normalized",
        "scheme/product.py",
        "normalized=finite",
        "normalized=True",
        _CALCULUS,
    ),
    Fault(
        "a bound is proved that is missed by a thousandth",
        "certification/decisions.py",
        "holds = sign * (known - asked) <= COMPARISON * max(1.0, abs(asked))",
        "holds = sign * (known - asked) <= 1e-3 * max(1.0, abs(asked))",
        _unit("certification/test_decisions.py"),
    ),
    Fault(
        "a witness with another residual is confirmed",
        "certification/recheck.py",
        "elif not agrees(witness, residual, steady):",
        "elif False:",
        _unit("certification/test_recheck.py"),
    ),
    Fault(
        "a rule from another place is confirmed",
        "certification/recheck.py",
        "if source is not None and _plain(source) != _plain(certificate.source):",
        "if False:",
        _unit("certification/test_recheck.py", "cli/test_certify_commands.py"),
    ),
    Fault(
        "a matrix product is not rounded outward",
        "certification/verify/interval.py",
        "(matrix.shape[0] + 2) * EPS * reach + NEGLIGIBLE",
        "0 * reach + NEGLIGIBLE",
        _unit(_MATRIX, f"certification/test_verify_table.py::{_SAMPLED}"),
    ),
    Fault(
        "the end of a quotient is bounded by its other end",
        "certification/verify/interval.py",
        "low, high = lower(1 / y[1]), upper(1 / y[0])",
        "low, high = lower(1 / y[1]), upper(1 / y[1])",
        _TABLE,
    ),
    Fault(
        "weights that miss one on one side alone count as normalized",
        "certification/verify/goals.py",
        "most, least = torch.maximum(high - 1, 1 - low)",
        "most, least = torch.minimum(high - 1, 1 - low)",
        _unit("certification/test_verify_findings.py"),
    ),
    Fault(
        "the search climbs away from the cap",
        "certification/falsify/objectives.py",
        "w.amax(dim=-1) - cap.cap",
        "cap.cap - w.amax(dim=-1)",
        _FALSIFY,
    ),
    Fault(
        "a replay of W-F forgets the rows beside",
        "certification/falsify/replay.py",
        "return max(written, float(Changes(probe, dtype).of(points, other, PATIENCE).max()))",
        "return written",
        _unit("certification/test_falsify_search.py", "certification/test_remembering_rules.py"),
    ),
    Fault(
        "tensors of two shapes have one identity",
        "store/identity.py",
        'head = f"{tuple(plain.shape)}{plain.dtype}:".encode()',
        'head = f"{plain.dtype}:".encode()',
        _unit("store/test_identities.py"),
    ),
    Fault(
        "each run has a lock of its own",
        "store/files.py",
        'path.with_suffix(".lock")',
        'path.with_suffix(f".{os.getpid()}")',
        _unit("store/test_stored_files.py"),
    ),
    Fault(
        "each teacher may fill the whole cache",
        "teachers/cache.py",
        "left = limit - sum(array.nbytes for array in arrays)",
        "left = limit",
        _unit("store/test_stored_files.py"),
    ),
    Fault(
        "ids that one vocabulary lacks are not compared",
        "teachers/vocabulary.py",
        "ours.keys() | theirs.keys()",
        "ours.keys() & theirs.keys()",
        _unit("teachers", "training/test_admitted_language_models.py", "training/test_training_build.py"),
    ),
    Fault(
        "the last piece of a document is too short",
        "data/rows.py",
        "cuts[-2] = min(cuts[-2], length - least)",
        "cuts[-2] = min(cuts[-2], length)",
        _unit("data/test_document_rows.py"),
    ),
    Fault(
        "classes of a task begin where the next task's do",
        "data/labels.py",
        "self.classes[:task]",
        "self.classes[: task + 1]",
        _unit("data/test_labelled_examples.py"),
    ),
    Fault(
        "a checkpoint with a file cut off is gone on from",
        "training/checkpoints.py",
        "if now.get(name) != size]",
        "if name not in now]",
        _unit("training/test_trace_and_checkpoints.py"),
    ),
    Fault(
        "the last residual counts and not the worst",
        "training/monitor.py",
        "self.worst[name] = max(self.worst.get(name, -math.inf), worst)",
        "self.worst[name] = worst",
        _unit("training/test_training_monitor.py"),
    ),
    Fault(
        "a label of zero is not scored",
        "training/evaluate.py",
        "mask = labels >= 0",
        "mask = labels > 0",
        _SHARES,
    ),
    Fault(
        "a label one above the last class is read",
        "training/batches.py",
        "| (labels >= classes)",
        "| (labels > classes)",
        _unit("training/test_distiller_labels.py", "training/test_distiller.py"),
    ),
    Fault(
        "files of a student and task are no part of a run's identity",
        "training/identity.py",
        '"files": rule_files(scheme, base) | own_files(recipe, base),',
        '"files": rule_files(scheme, base),',
        _unit("training/test_run_identity.py", "training/test_a_third_task.py"),
    ),
    Fault(
        "the loss is no part of a recipe's digest",
        "training/recipe.py",
        "content = self.model_dump()",
        'content = {"loss": {"softening": None, "softness": None, "prior": None}, **self.model_dump(exclude={"loss"})}',
        _unit("training/test_training_recipe.py", "training/test_run_identity.py"),
    ),
    Fault(
        "evaluation is counted as training",
        "training/distiller.py",
        "self.monitor if training else self._aside",
        "self.monitor",
        _unit("training/test_distiller_labels.py", "training/test_distiller.py"),
    ),
    Fault(
        "the best choice of a token is an average",
        "fitting/bounds.py",
        "data.label_log_prob.amax(-1) - uniform",
        "data.label_log_prob.mean(-1) - uniform",
        _unit("fitting/test_headroom_bounds.py"),
    ),
    Fault(
        "the slope of a squash is not squared",
        "fitting/likelihood.py",
        "slope = 1 - part.tanh.square()",
        "slope = 1 - part.tanh.abs()",
        _unit("fitting/test_fitted_likelihood.py"),
    ),
    Fault(
        "a row of accuracy is named after its kind",
        "report/accuracy.py",
        '"name": name if what == "teacher" else what,',
        '"name": what if what == "teacher" else name,',
        _unit("report/test_accuracy_section.py"),
    ),
    Fault(
        "code that ends the program is called bad input",
        "cli/ending.py",
        'return OTHER, f"code that Trivium called ended the program',
        'return INPUT, f"code that Trivium called ended the program',
        _unit("cli/test_how_commands_end.py"),
    ),
)
