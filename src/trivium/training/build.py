"""From a recipe to the objects of a run: scheme, rows, student, teachers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from trivium.data.examples import Table
from trivium.data.rows import DomainTexts, Rows, make_rows
from trivium.data.sources import read_texts
from trivium.errors import InputError, TriviumError, nearest, require
from trivium.scheme import Limit, Mix, Scheme, Squash, compose
from trivium.scheme.scheme import Term
from trivium.teachers.admission import Say, admit_language_model, trim_vocabulary, unsaid
from trivium.teachers.huggingface import Teacher, load_model, load_teachers, load_tokenizer
from trivium.teachers.vocabulary import require_every_id, vocabulary_size
from trivium.training.configs import fresh_config, fresh_model
from trivium.training.names import every_teacher, require_each_domain, teachers_of
from trivium.training.recipe import Recipe, RuleSection
from trivium.weighting import RULES, Learned, Operator, Rule
from trivium.weighting.features import BUILT_IN, Scale
from trivium.weighting.loading import load_rule


def resolve(reference: str, base: Path) -> str:
    """A model folder: relative paths count from the recipe, ``trivium:NAME`` is one that the package ships."""
    if reference.startswith("trivium:"):
        return str(files("trivium") / "assets" / reference.removeprefix("trivium:"))
    return str(base / reference)


def build_scheme(recipe: Recipe, base: Path = Path()) -> Scheme:
    """The recipe's scheme; user rules (``FILE.py:NAME``) are loaded from beside the recipe.

    Raises:
        InputError: an unknown rule or option, a rule under the wrong scale, a map or weights that name no teacher.
        InfeasibleError: bounds that no weights meet (T1).
    """
    section = recipe.scheme

    def terms(scale: Scale) -> list[Term]:
        return [
            (_wrapped(_rule(entry, scale, recipe, base), entry), entry.strength) for entry in getattr(section, scale)
        ]

    scheme = compose(
        recipe.teacher_names,
        token=terms("token"),
        task=terms("task"),
        context=terms("context"),
        budget=section.budget,  # type: ignore[arg-type]  # its keys are checked by compose
        floor=section.floor,
        cap=section.cap,
        order=section.order,
        margin=section.margin,
    )
    if recipe.data.kind == "examples" and "prefix_log_prob" in scheme.ranges:
        raise InputError(
            "a scheme for examples must not read a prefix: an example has none",
            "a rule that reads 'prefix_log_prob', whose weights would be its prior everywhere",
            "Leave it out, or use domain_map, static or skill.",
        )
    return scheme


def _wrapped(operator: Operator, entry: RuleSection) -> Operator:
    """What the keys beside a rule make of it, in the order squash, budget, mix."""
    if entry.squash is not None:
        operator = Squash(operator, entry.squash)
    if entry.budget is not None:
        operator = Limit(operator, entry.budget)
    return operator if entry.mix is None else Mix(operator, entry.mix)


def _rule(entry: RuleSection, scale: Scale, recipe: Recipe, base: Path) -> Rule:
    if ".py:" in entry.rule:
        require(not entry.options, "a rule from a file takes no options", entry.options, "Set them in the file.")
        return load_rule(entry.rule, base)
    if entry.rule not in RULES:
        raise InputError("a rule must be built in, or FILE.py:NAME", repr(entry.rule), nearest(entry.rule, RULES))
    rule = RULES[entry.rule]
    options = dict(entry.options)
    types = {field.name: str(field.type) for field in dataclasses.fields(rule)}  # type: ignore[arg-type]
    fields = set(types)
    if "scale" in fields:
        options.setdefault("scale", scale)
    recipe_map = "map" in options and "teacher_of" in fields
    if recipe_map:
        options["teacher_of"] = teachers_of(options.pop("map"), recipe)
    if issubclass(rule, Learned):
        for name, size in _sizes(recipe, base, fields).items():
            given = options.setdefault(name, size)
            require(given == size, f"option {name!r} of rule {entry.rule!r} must be the run's", given, f"It is {size}.")
    if "teacher_of" in options and not recipe_map:
        require_each_domain(options["teacher_of"], recipe)
    for name, value in list(options.items()):
        if name not in fields:
            raise InputError(f"an option of rule {entry.rule!r} must exist", repr(name), nearest(name, fields))
        if isinstance(value, Mapping) and not types[name].startswith("Mapping"):  # then its keys are teachers
            options[name] = [value[teacher] for teacher in every_teacher(value, recipe, name)]
    built = _validated(rule, entry.rule, options, fields)
    built.constants(len(recipe.teachers))  # a list as long as K, an index that exists, a budget ≥ 0: checked there
    return built


def _sizes(recipe: Recipe, base: Path, wanted: set[str]) -> dict[str, int]:
    """What a learned rule may need to know of a run; the classes of text are the student's vocabulary."""
    data = recipe.data
    found = {"teachers": len(recipe.teachers)}
    if data.kind == "examples":
        found |= {"classes": sum(len(names) for names in data.tasks.values()), "tasks": max(1, len(data.tasks))}
    else:
        found["tasks"] = len(dict.fromkeys(domain.task for domain in data.domains))
        if "classes" in wanted:
            found["classes"] = vocabulary_size(build_tokenizer(recipe, base))
    return {name: size for name, size in found.items() if name in wanted}


def _validated(rule: type[Rule], name: str, options: Mapping[str, Any], fields: set[str]) -> Rule:
    """The rule with these options, each of its declared type."""
    try:
        built: Rule = TypeAdapter(rule).validate_python(options)
    except ValidationError as error:
        problem: Any = error.errors()[0]
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, TriviumError):
            raise cause from None
        path = ".".join(str(part) for part in problem["loc"])
        raise InputError(
            f"the options of rule {name!r} must fit", f"{path!r}: {problem['msg']}", f"It takes {sorted(fields)}."
        ) from None
    return built


@dataclasses.dataclass(frozen=True)
class Tables:
    """Rows of the three splits, drawn alike for every run that shares the recipe's data section."""

    train: Table
    validation: Table
    test: Table | None


def build_rows(recipe: Recipe, tokenizer: Any, scheme: Scheme, base: Path = Path()) -> Tables:
    """All rows of a run. Features that the scheme reads and Trivium does not compute are columns of the data."""
    data, own = recipe.data, own_features(scheme)

    def table(split: str, limit: int | None) -> Rows:
        texts = [
            DomainTexts(d.name, d.task, read_texts(getattr(d, split), base, data.text_column)) for d in data.domains
        ]
        return make_rows(texts, tokenizer, data.window, limit, data.seed, own, data.end_of_text)

    return three(recipe, table)


def own_features(scheme: Scheme) -> dict[str, int]:
    """The features that the data must hold, with the numbers a row of each."""
    teachers = len(scheme.teachers)
    return {name: interval.width(teachers) for name, interval in scheme.ranges.items() if name not in BUILT_IN}


def three(recipe: Recipe, table: Callable[[str, int | None], Table]) -> Tables:
    """The tables of all splits, each made by ``table(split, limit)``.

    Raises:
        InputError: two domains of one name, or some domains with test data and some without.
    """
    data = recipe.data
    names = [domain.name for domain in data.domains]
    require(len(set(names)) == len(names), "domains' names must differ", names, "Rename one of them.")
    has_test = [domain.test is not None for domain in data.domains]
    require(all(has_test) or not any(has_test), "all domains must have test data, or none", has_test, "Add `test`.")
    return Tables(
        table("train", data.train_rows),
        table("validation", data.evaluation_rows),
        table("test", data.test_rows) if all(has_test) else None,
    )


def build_tokenizer(recipe: Recipe, base: Path = Path()) -> Any:
    """The student's tokenizer."""
    folder = recipe.student.tokenizer or recipe.student.model
    if folder is None:
        raise InputError("a student must have a tokenizer", "none", "Give student.tokenizer or student.model.")
    tokenizer = load_tokenizer(resolve(folder, base))
    require_every_id(tokenizer)
    return tokenizer


def build_student(recipe: Recipe, tokenizer: Any, base: Path = Path(), say: Say = unsaid) -> Any:
    """The student: a model from its folder, or a fresh one whose weights depend on the recipe's seed alone.

    It has a logit a token: see :func:`trivium.teachers.admission.trim_vocabulary`.

    Args:
        say: called with what is worth knowing of a student that is taken all the same.

    Raises:
        InputError: no such model, a config that does not fit, or a model that is not admitted; see
            :func:`trivium.teachers.admission.admit_language_model`.
    """
    section = recipe.student
    require(
        (section.model is None) != (section.config is None),
        "a student must have either a model or a config",
        "both" if section.model else "neither",
        "Give student.model to start from one, or student.config for a fresh one.",
    )
    if section.model is not None:
        student = load_model(resolve(section.model, base))
    else:
        from transformers import AutoModelForCausalLM
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as causal

        special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        sized = {"vocab_size": vocabulary_size(tokenizer), **special}
        config = fresh_config(dict(section.config or {}), causal, "writes text", sized)
        torch.manual_seed(recipe.train.seed)
        student = fresh_model(AutoModelForCausalLM, config)
    trim_vocabulary(student, tokenizer, say)
    admit_language_model(student, tokenizer, recipe.data.window, "the student", say)
    return student.train()


def build_teachers(
    recipe: Recipe, tokenizer: Any, device: torch.device, base: Path = Path(), say: Say = unsaid
) -> list[Teacher]:
    """The recipe's teachers in its order, vocabularies checked, each asked what every model is asked."""
    folders = {teacher.name: resolve(teacher.model, base) for teacher in recipe.teachers}
    require(
        len(folders) == len(recipe.teachers), "teachers' names must differ", recipe.teacher_names, "Rename one of them."
    )
    dtype = torch.bfloat16 if device.type == "cuda" and recipe.train.precision != "float32" else torch.float32
    return load_teachers(folders, tokenizer, device, dtype, recipe.data.window, say)
