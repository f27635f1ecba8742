"""Whatever is given to a public constructor or function, it is accepted or refused by a line of Trivium's own.

What this catches that no other test does: a bare ``TypeError`` from deep inside (``Entropy(strength='a')``), and a
value that is taken and fails later, when weights are asked for.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch

import trivium as tv
from every_wrapper import KEYED, arguments
from tiny_world import make_tokenizer
from trivium import aggregation, axioms, scheme
from trivium.aggregation.softening import SOFTENERS, PriorMixing
from trivium.certification.assemble import certify
from trivium.certification.specification import Specification
from trivium.errors import InputError, TriviumError
from trivium.losses.streaming import token_losses
from trivium.simplex.typed import Typed, fits, typed
from trivium.weighting import RULES, Operator, Rule

ODD: list[Any] = [
    "a",
    "",
    b"x",
    None,
    float("nan"),
    float("inf"),
    float("-inf"),
    -1,
    0,
    10**30,
    [],
    [1],
    ["a"],
    {},
    True,
]
ODD += [False, 1j, object(), int, len, {"a": "b"}, {1: 2}, [None], (0, "a"), [float("nan")], torch.zeros(2), {"a"}]

LOGITS = torch.zeros(2, 3)
ORDER = tv.Order(((0,), (1,)))
WEIGHTS = torch.zeros(2).log_softmax(-1)
LOSS = {"student_logits": LOGITS, "teacher_logits": [LOGITS, LOGITS], "log_weights": WEIGHTS}


def plain(entropy: torch.Tensor) -> torch.Tensor:
    return entropy.softmax(-1)


#: Results, which nobody makes.
OTHERWISE = {tv.StepOutput, tv.Distilled, tv.Certificate}
#: All that a recipe must say.
RECIPE: dict[str, Any] = {
    "student": {"config": {"model_type": "llama"}, "tokenizer": "none"},
    "teachers": [{"name": "a", "model": "none"}],
    "data": {"domains": [{"name": "a", "train": "none.jsonl", "validation": "none.jsonl"}]},
}


def trained(**given: Any) -> Any:
    """A trainer of a student that is none: arguments are looked at before it is."""
    return tv.DistillationTrainer(model=torch.nn.Linear(2, 3), **given)


def in_loop(method: str) -> Callable[..., Any]:
    """A method of a new distiller, in a loop of one's own."""

    def call(**given: Any) -> Any:
        made = tv.Distiller(tv.compose(["a", "b"], token=[tv.Entropy()]))
        return vars(tv.Distiller)[method](made, **given)

    return call


def trusted(trust: torch.Tensor) -> torch.Tensor:
    return trust.log_softmax(-1)


def entry(**entries: Any) -> Any:
    """A batch of which one entry is odd, to a scheme that reads entries of all kinds."""
    trust = tv.rule("context", {"trust": (0.0, 1.0)})(trusted)
    scheme = tv.compose(["a", "b"], token=[tv.Entropy()], task=[tv.Skill()], context=[trust, tv.DomainMap((0, 1))])
    models = {name: torch.nn.Linear(3, 4) for name in "ab"}
    made = tv.Distiller(scheme, models, loss={"label": 0.5}, validation_loss=torch.ones(2, 2))
    return made(torch.zeros(4, 4, requires_grad=True), {**ENTRIES, **entries})


ENTRIES = {
    "x": torch.ones(4, 3),
    "labels": torch.arange(4),
    "trust": torch.ones(4, 2),
    "teacher_mask": torch.ones(4, 2) > 0,
}
ENTRIES |= {"domain": torch.tensor([0, 1, 0, 1]), "task": torch.tensor([0, 1, 0, 1])}
BATCH = {"a_logits": torch.eye(4), "b_logits": torch.ones(4, 4), "labels": torch.arange(4)}
SCORES = torch.zeros(4, 4, requires_grad=True)


#: Two teachers' logits of four rows, and labels.
TO_FIT: dict[str, Any] = {
    "scheme": tv.compose(["a", "b"]),
    "teachers": None,
    "validation": [{"a_logits": torch.eye(4), "b_logits": torch.ones(4, 4), "labels": torch.arange(4)}],
    "features": ["entropy"],
    "penalty": 0.1,
}

#: Every public thing that takes arguments, with arguments that it takes.
GIVEN: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{name: (rule, {}) for name, rule in RULES.items()},
    "scores": (RULES["scores"], {"weights": {"entropy": -1.0}}),
    "fitted_scores": (RULES["fitted_scores"], {"strengths": {"entropy": -1.0}}),
    "domain_map": (RULES["domain_map"], {"teacher_of": (0, 1)}),
    "mopd": (RULES["mopd"], {"teacher_of": (0, 1)}),
    "mmkd": (RULES["mmkd"], {"num_teachers": 2, "classes": 3}),
    "amtss": (RULES["amtss"], {"num_teachers": 2}),
    "Product": (scheme.Product, {"parts": (tv.Entropy(), tv.Margin())}),
    **{kind.__name__: (kind, arguments(kind, key)) for kind, key in KEYED},
    "PerEntry": (scheme.PerEntry, {"part": tv.Entropy()}),
    "Conform": (scheme.Project, {"part": tv.Entropy(), "conforming": tv.ConformingSet(2)}),
    "OnCritical": (scheme.OnCritical, {"part": tv.Entropy(), "conforming": tv.ConformingSet(2)}),
    "Scheme": (tv.Scheme, {"teacher_names": ("a", "b"), "scales": {}, "root": tv.Entropy(), "conforming": None}),
    "ConformingSet": (tv.ConformingSet, {"num_teachers": 2, "order": ORDER}),
    "Order": (tv.Order, {"tiers": ((0,), (1,))}),
    "Order.parse": (tv.Order.parse, {"text": "a>b", "names": ["a", "b"]}),
    "Question": (Specification, {"num_teachers": 2, "order": ORDER}),
    "compose": (tv.compose, {"teacher_names": ["a", "b"], "token": [tv.Entropy()]}),
    "Distiller": (tv.Distiller, {"scheme": tv.compose(["a", "b"], token=[tv.Entropy()])}),
    "InBatch": (tv.InBatch, {"column": "a"}),
    "fit": (tv.fit, TO_FIT),
    "load_recipe": (tv.load_recipe, {"path": "none.yaml"}),
    "rule": (lambda **given: tv.rule(**given)(plain), {"scale": "token", "features": ["entropy"]}),
    "rule of": (tv.rule("token", ["entropy"]), {"function": plain}),
    "conforming_projection": (tv.conforming_projection, {"log_w": WEIGHTS, "conforming_set": tv.ConformingSet(2)}),
    "distillation_loss": (tv.distillation_loss, LOSS),
    "token_losses": (token_losses, LOSS),
    "make_pool": (aggregation.make_pool, {"name": "power"}),
    "PowerPool": (aggregation.PowerPool, {}),
    **{name: (kind, {}) for name, kind in axioms.AXIOMS.items()},
    "W-R": (axioms.Regularity, {"constant": 1.0}),
    "W-S": (axioms.OrdinalSafety, {"order": ORDER}),
    "UnsafeTokens": (tv.UnsafeTokens, {"tokenizer": make_tokenizer(), "tokens": (1, 2)}),
    "UnsafeClasses": (tv.UnsafeClasses, {"by_task": ((0,),), "names": {0: "toxic"}}),
    "Safety": (tv.Safety, {"unsafe": tv.UnsafeClasses(((0,),), {0: "toxic"}), "limit": 0.1}),
    "load_guard": (tv.load_guard, {"folder": "none"}),
    "Loss": (tv.Loss, {}),
    "Recipe": (tv.Recipe, RECIPE),
    "distill": (tv.distill, {"recipe": "none.yaml"}),
    "distill a recipe": (tv.distill, {"recipe": tv.Recipe(**RECIPE), "base": "nowhere"}),
    "DistillationTrainer": (trained, {}),
    "a batch": (in_loop("__call__"), {"student_logits": SCORES, "batch": BATCH}),
    "an entry": (entry, {}),
    "count": (in_loop("count"), {"batch": BATCH}),
    "predicted": (in_loop("predicted"), {"batch": BATCH}),
    "mixture": (in_loop("mixture"), {"batch": BATCH}),
    "measure": (in_loop("measure"), {"batches": [BATCH]}),
    "read": (in_loop("read"), {"batch": BATCH}),
    "learn": (in_loop("learn"), {"student": torch.nn.Linear(2, 3), "learning_rate": 0.1}),
    "inputs": (in_loop("inputs"), {"batch": BATCH}),
    "suffices": (in_loop("suffices"), {"batch": BATCH}),
    "load": (in_loop("load"), {"device": "cpu"}),
    "load_state_dict": (in_loop("load_state_dict"), {"state": tv.Distiller(tv.compose(["a"])).state_dict()}),
    "certify": (certify, {"operator": tv.Entropy(), "specification": Specification(2), "seconds": 0.0}),
}

#: By name: parameters of ``GIVEN`` that the signature of a wrapper hides.
PARAMETERS = {
    "rule": ("scale", "features"),
    "rule of": ("function",),
    "Loss": (*tv.Loss.model_fields, "typo"),
    "Recipe": (*tv.Recipe.model_fields, "typo"),
    "DistillationTrainer": ("args", "teachers", "scheme", "loss", "on_violation", "validation_loss", "distiller"),
    **dict.fromkeys(("count", "predicted", "mixture", "read", "inputs", "suffices"), ("batch",)),
    "mixture": ("batch", "student_logits"),
    "a batch": ("student_logits", "batch", "normalizer"),
    "an entry": (*ENTRIES,),
    "measure": ("batches",),
    "learn": ("student", "learning_rate", "step"),
    "load": ("device",),
    "load_state_dict": ("state",),
}
CASES = [
    (name, parameter)
    for name, (made, _) in GIVEN.items()
    for parameter in PARAMETERS.get(name, tuple(inspect.signature(made).parameters))
]


def used(made: Any) -> None:
    """What is accepted can be used: it says its formula and its constants, and weighs."""
    if isinstance(made, Operator):
        assert isinstance(made.formula(), str)
        features = {"teachers": torch.zeros(2, 2)}
        for feature, interval in made.ranges.items():
            features[feature] = torch.full((2, interval.width(2)), interval.low)
        made.log_weights(features)
    if isinstance(made, Rule):
        made.constants(2)
    if isinstance(made, tv.ConformingSet):
        made.contains(WEIGHTS)
    str(made)


@pytest.mark.parametrize(("name", "parameter"), CASES, ids=lambda value: value)
def test_any_value_is_accepted_or_refused_in_one_line(name: str, parameter: str) -> None:
    made, given = GIVEN[name]
    if name == "torchjd":
        pytest.importorskip("torchjd")
    for value in ODD:
        try:
            used(made(**{**given, parameter: value}))
        except TriviumError as error:
            if "\n" in str(error):
                raise
        except BaseException as error:
            error.add_note(f"{name}({parameter}={value!r})")
            raise


def test_what_is_public_is_all_asked() -> None:
    asked = {made for made, _ in GIVEN.values()} | {tv.rule, tv.Disagreement, TriviumError} | OTHERWISE
    asked |= {tv.DistillationTrainer}  # by way of ``trained``
    public = [thing for name in tv.__all__ if callable(thing := getattr(tv, name))]
    assert [thing for thing in public if thing not in asked] == []
    wrappers = [thing for name in scheme.__all__ if isinstance(thing := vars(scheme)[name], type)]
    assert [thing for thing in wrappers if thing not in asked] == []
    assert set(RULES.values()) | set(axioms.AXIOMS.values()) <= asked


@pytest.mark.parametrize("softener", [*SOFTENERS, PriorMixing], ids=str)
def test_softening_operators_too(softener: Any) -> None:
    made = SOFTENERS[softener] if isinstance(softener, str) else softener
    kind = made if isinstance(made, type) else type(made)
    assert issubclass(kind, Typed)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: tv.Entropy(strength="a"), "strength of Entropy must be a number; received 'a'."),  # type: ignore[arg-type]
        (lambda: tv.Entropy(scale="tokn"), "received 'tokn'. Did you mean 'token'?"),  # type: ignore[arg-type]
        (lambda: tv.DomainMap(1), "teacher_of of DomainMap must be a list, each a whole number; received 1."),  # type: ignore[arg-type]
        (lambda: tv.ConformingSet(2, True), "floor of ConformingSet must be a number; received True."),
        (lambda: tv.compose("ab"), "teacher_names of compose must be a list, each a text; received 'ab'."),
    ],
)
def test_the_line_names_class_argument_and_value(make: Callable[[], Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert line in str(caught.value)


def test_numbers_of_other_libraries_are_numbers() -> None:
    import numpy as np

    assert tv.Entropy(strength=np.float32(0.5), budget=np.float64(1.0)).slopes() == {"entropy": -0.5}  # type: ignore[arg-type]
    assert tv.ConformingSet(np.int64(2)).num_teachers == 2  # type: ignore[arg-type]
    assert tv.DomainMap([1, 0]).formula().startswith("map(0→1, 1→0")  # type: ignore[arg-type]


def test_copies_and_pickles_are_made() -> None:
    whole = tv.compose(["a", "b"], token=[tv.Entropy()], floor=0.1)
    for copied in (copy.deepcopy(whole), copy.copy(whole), pickle.loads(pickle.dumps(whole))):
        assert copied == whole


@pytest.mark.parametrize(
    ("value", "kind", "fit"),
    [
        (1, float, True),
        (True, float, False),
        (True, int, False),
        (1.0, int, False),
        ("1", float, False),
        (None, float | None, True),
        ((1, 2), tuple[int, ...], True),
        ([1, 2], tuple[int, ...], True),
        ("12", tuple[str, ...], False),
        ((1, "a"), tuple[int, str], True),
        ((1,), tuple[int, str], False),
        ({"a": 1}, dict[str, float], True),
        ({"a": "b"}, dict[str, float], False),
        (1, Literal["a", 1], True),
        (True, Literal["a", 1], False),
        (len, Callable[..., Any], True),
        (object(), Any, True),
    ],
)
def test_kinds(value: object, kind: Any, fit: bool) -> None:
    assert fits(value, kind) is fit


def test_python_itself_refuses_what_is_no_call() -> None:
    @typed()
    def one(number: float) -> float:
        return number

    assert one(2) == 2
    with pytest.raises(TypeError, match="unexpected keyword"):
        one(other=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        tv.Entropy(1.0, 2.0, "token", 4)  # type: ignore[call-arg]
