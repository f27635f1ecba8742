"""Names of the release before: each still works, and a ``DeprecationWarning`` says the new one.

Everything that was renamed stands in the tables below, so that the next release drops them in one place.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import operator
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, TypeVar

_T = TypeVar("_T", bound=Callable[..., Any])

#: By module: what a name is called now.
NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "trivium.aggregation.claims": {"Table": "ClaimsTable"},
    "trivium.aggregation.claims.table": {"Table": "ClaimsTable"},
    "trivium.certification": {"Finding": "Result", "Question": "Specification"},
    "trivium.certification.certificate": {"Bounds": "CertifiedConstants", "Run": "ObservedRun"},
    "trivium.certification.source": {"Record": "CertificatePart"},
    "trivium.certification.specification": {"Finding": "Result", "Question": "Specification"},
    "trivium.fitting": {"Constant": "ConstantWeights"},
    "trivium.fitting.bounds": {"Constant": "ConstantWeights"},
    "trivium.report.section": {"Section": "PageSection"},
    "trivium.report.traces": {"Trace": "RunTrace"},
    "trivium.rules": {"Conform": "Project", "Limit": "ClampInfluence", "Mix": "MixUniform"},
    "trivium.scheme": {"Conform": "Project", "Limit": "ClampInfluence", "Mix": "MixUniform"},
    "trivium.scheme.clamp_influence": {"Limit": "ClampInfluence"},
    "trivium.scheme.mix_uniform": {"Mix": "MixUniform"},
    "trivium.scheme.project": {"Conform": "Project"},
    "trivium.teachers.classifier": {"Batch": "ClassifierBatch"},
    "trivium.theory": {"Row": "TheoremRow"},
    "trivium.theory.rows": {"Row": "TheoremRow"},
    "trivium.training.classifier_student": {"Learner": "ClassifierStudent"},
    "trivium.training.evaluate": {"nats": "nll", "student_nats": "student_nll", "teacher_nats": "teacher_nll"},
    "trivium.training.recipe": {"Section": "RecipePart"},
    "trivium.training.run": {"Workshop": "PreparedRun"},
    "trivium.training.trace": {"Trace": "TraceWriter"},
    "trivium.weighting": {"Learned": "LearnableRule", "Lesson": "TrainingState"},
    "trivium.weighting.learnable": {"Learned": "LearnableRule", "Lesson": "TrainingState"},
}

#: Where a module went.
MODULES: Final[Mapping[str, str]] = {
    "trivium.certification.form": "trivium.certification.function_form",
    "trivium.certification.question": "trivium.certification.specification",
    "trivium.certification.falsify.findings": "trivium.certification.falsify.results",
    "trivium.certification.falsify.regularity": "trivium.certification.falsify.lipschitz",
    "trivium.scheme.conform": "trivium.scheme.project",
    "trivium.scheme.limit": "trivium.scheme.clamp_influence",
    "trivium.scheme.mix": "trivium.scheme.mix_uniform",
    "trivium.training.learner": "trivium.training.classifier_student",
    "trivium.weighting.learned": "trivium.weighting.learnable",
}


_RENAMED: dict[type, Mapping[str, str]] = {}


def warn(old: str, new: str, stacklevel: int = 3) -> None:
    """Say that ``old`` is called ``new`` now."""
    said = f"{old} is called {new} now; the old name goes with the next release"
    warnings.warn(said, DeprecationWarning, stacklevel=stacklevel)


def names_of(module: str) -> Callable[[str], Any]:
    """Make a ``__getattr__`` that gives a module its former names.

    Raises:
        AttributeError: any other name.
    """

    def find(name: str) -> Any:
        new = NAMES.get(module, {}).get(name)
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn(f"{module}.{name}", f"{module}.{new}")
        return vars(importlib.import_module(module))[new]

    return find


def keyed(given: Mapping[str, Any], renamed: Mapping[str, str], place: str, stacklevel: int = 4) -> dict[str, Any]:
    """Return a mapping under the new keys; an old key is told of, and counts where both are given.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     keyed({"margin": 1.0}, {"margin": "order_margin"}, "compose")
    {'order_margin': 1.0}
    >>> str(told[0].message)
    'margin of compose is called order_margin now; the old name goes with the next release'
    """
    new = {key: value for key, value in given.items() if key not in renamed}
    for key in given.keys() & renamed.keys():
        warn(f"{key} of {place}", renamed[key], stacklevel)
        new[renamed[key]] = given[key]
    return new


def former_names(kind: type) -> Mapping[str, str]:
    """Return the arguments of a class that have a former name: what they are called now."""
    return _RENAMED.get(kind, {})


def renamed(**old: str) -> Callable[[_T], _T]:
    """Let a function take arguments, and a class arguments and attributes, also by their former names.

    Args:
        old: the new name by the former one.

    >>> @renamed(teachers="num_teachers")
    ... def count(num_teachers: int) -> int:
    ...     return num_teachers
    >>> count(num_teachers=3)
    3
    """

    def decorate(what: Any) -> Any:
        if isinstance(what, type):
            _rename_in(what, old)
            return what

        @functools.wraps(what)
        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs.keys() & old.keys():
                kwargs = keyed(kwargs, old, what.__name__)
            return what(*args, **kwargs)

        return call

    return decorate


def _rename_in(kind: Any, old: Mapping[str, str]) -> None:
    begin = kind.__init__

    @functools.wraps(begin)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.keys() & old.keys():
            kwargs = keyed(kwargs, old, kind.__name__)
        begin(self, *args, **kwargs)

    kind.__init__ = init
    _RENAMED[kind] = old
    for name, now in old.items():
        if name not in vars(kind):
            setattr(kind, name, _attribute(kind.__name__, name, now))


def _attribute(kind: str, name: str, now: str) -> property:
    read = operator.attrgetter(now)

    def get(self: Any) -> Any:
        warn(f"{name} of {kind}", now)
        return read(self)

    return property(get, doc=f"The former name of ``{now}``.")


class _Former(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module by its former name as the one that it is now, and gives modules the former names in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in MODULES:
            return importlib.util.spec_from_loader(fullname, self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target) if fullname in NAMES else None
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            loader.exec_module = functools.partial(_run, loader.exec_module)
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        warn(spec.name, MODULES[spec.name])
        module = importlib.import_module(MODULES[spec.name])
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing, since the module ran when it was imported by its name; give it back its own spec."""
        module.__spec__ = self.own


def _run(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    execute(module)
    vars(module)["__getattr__"] = names_of(module.__name__)


if not any(isinstance(finder, _Former) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Former())
