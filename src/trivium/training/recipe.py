"""The recipe: everything a run depends on, in one YAML file, with every default visible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trivium.aggregation import make_pool
from trivium.aggregation.softening import FixedSoftener, make_softener
from trivium.errors import InputError, require
from trivium.former import keyed
from trivium.scheme import WRAPPERS
from trivium.scheme.composition import Key
from trivium.training.safety_section import SafetySection
from trivium.training.section import RecipePart, explain
from trivium.weighting.base import Operator
from trivium.weighting.features import SCALES

#: The largest seed that every library takes.
MOST_SEED = 2**32 - 1

#: The schedules of transformers that need no arguments of their own.
Schedule = Literal[
    "cosine", "linear", "constant", "constant_with_warmup", "cosine_with_restarts", "polynomial", "inverse_sqrt"
]


#: The wrappers that have a key beside a rule.
KEYED: tuple[Any, ...] = tuple(kind for kind in WRAPPERS if kind.key is not None)
#: Keys that every digest holds, used or not, as it did before wrappers declared theirs.
_ALWAYS = ("strength", "squash", "budget", "mix")
#: Former keys of each part: what they are called now.
FORMER: Mapping[str, Mapping[str, str]] = {"scheme": {"margin": "order_margin"}}


def present_keys(written: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return a part of a recipe as a file of an earlier release has it, under the present keys.

    >>> present_keys({"floor": 0.1, "margin": 0.5}, "scheme")
    {'floor': 0.1, 'order_margin': 0.5}
    """
    return {FORMER[part].get(key, key): value for key, value in written.items()}


class StudentSection(RecipePart):
    """The student: where it starts from, and its tokenizer."""

    model: str | None = Field(
        None, description="folder of a model to start from, for examples also FILE.py:NAME; or null and give `config`"
    )
    config: dict[str, Any] | None = Field(
        None, description="a transformers config for a fresh model, with `model_type`"
    )
    tokenizer: str | None = Field(default=None, description="folder of the tokenizer; null takes the one in `model`")


class TeacherSection(RecipePart):
    """One teacher."""

    name: str = Field(description="what tables, orders and maps call it")
    model: str = Field(description="a Hugging Face folder with model and tokenizer; for examples also FILE.py:NAME")
    tasks: list[str] | None = Field(default=None, description="of examples: the tasks it has heads for; null: all")
    gives: Literal["logits", "probabilities"] = Field(
        default="logits", description="of examples: what FILE.py:NAME returns"
    )
    smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="of examples: share of uniform mixed in, against log 0"
    )


class DomainSection(RecipePart):
    """One part of the data."""

    name: str = Field(description="what reports call this part of the data")
    task: str = Field(default="text", description="the task its examples belong to; task rules see nothing finer")
    train: str = Field(description="trivium:NAME/train, FILE.txt, FILE.jsonl, a folder; #train keeps that split of it")
    validation: str = Field(description="likewise; teachers' validation losses and the learning curve come from it")
    test: str | None = Field(default=None, description="likewise; the final numbers come from it")


class DataSection(RecipePart):
    """The text, or the labelled examples, of all splits."""

    kind: str = Field(
        default="text", description="what the data is: text, examples (see the end), or FILE.py:NAME, a task"
    )
    tasks: dict[str, list[str]] = Field(default_factory=dict, description="of examples: {TASK: [CLASS, ...]}")
    domains: list[DomainSection] = Field(min_length=1, description="the parts of the data")
    text_column: str = Field(default="text", description="where JSONL files and datasets keep their text")
    pair_column: str | None = Field(
        default=None, description="of examples: the second text of a pair, in JSONL; null: none"
    )
    label_column: str = Field(default="label", description="of examples: where their class is, by name or number")
    task_column: str | None = Field(default=None, description="of examples: where their task is; null: the domain's")
    window: int = Field(default=256, ge=8, description="tokens a row")
    end_of_text: bool = Field(
        default=True, description="of text: documents end in the tokenizer's end token, to be learned"
    )
    train_rows: int | None = Field(default=None, ge=1, description="rows a domain to distil on; null takes all")
    evaluation_rows: int | None = Field(default=32, ge=1, description="rows a domain for validation; null takes all")
    test_rows: int | None = Field(default=64, ge=1, description="rows a domain for the final numbers; null takes all")
    seed: int = Field(default=0, description="which rows are drawn; not the run's seed, so that seeds share the data")

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        from trivium.training.tasks import TASKS  # late: tasks read recipes

        if value not in TASKS and ".py:" not in value:
            raise PydanticCustomError("kind", f"must be {', '.join(sorted(TASKS))} or FILE.py:NAME")
        return value


def _field(key: Key) -> Any:
    limits: dict[str, Any] = dict(key.limits)
    return float if key.default is not None else float | None, Field(key.default, description=key.description, **limits)


class _Named(RecipePart):
    rule: str = Field(description="a built-in name, or FILE.py:NAME for your own")


#: With the key of every wrapper that declares one.
_FIELDS: dict[str, Any] = {kind.key.name: _field(kind.key) for kind in KEYED}
_Keyed: Any = create_model("_Keyed", __base__=_Named, **_FIELDS)


class RuleSection(_Keyed):
    """One rule of a scheme."""

    options: dict[str, Any] = Field(default_factory=dict, description="the rule's own arguments")

    def around(self, rule: Operator) -> Operator:
        """Return the rule in the wrappers whose keys stand beside it, each in its turn."""
        values = dict(self)
        for kind in sorted(KEYED, key=lambda kind: kind.key.turn):
            if values[kind.key.name] != kind.key.default:
                rule = kind(rule, values[kind.key.name])
        return rule


class SchemeSection(RecipePart):
    """How teachers are weighted; see :func:`trivium.scheme.compose`."""

    token: list[RuleSection] = Field(default_factory=list, description="rules that see a position")
    task: list[RuleSection] = Field(default_factory=list, description="rules that see the example's task")
    context: list[RuleSection] = Field(default_factory=list, description="rules that see prefix or domain")
    budget: float | dict[str, float] | None = Field(
        default=None, description="influence in nats: in all, or {token: 1, …}"
    )
    floor: float = Field(default=0.0, ge=0, description="least weight of a teacher, at most 1/K")
    cap: float = Field(default=1.0, gt=0, description="largest weight of a teacher, at least 1/K")
    order: str | None = Field(default=None, description="safety order of teachers, e.g. 'a > b = c', safest first")
    order_margin: float = Field(default=0.0, ge=0, description="nats between two tiers of the order")

    @model_validator(mode="before")
    @classmethod
    def _former(cls, content: Any) -> Any:
        return keyed(content, FORMER["scheme"], "scheme in a recipe") if isinstance(content, Mapping) else content


class LossSection(RecipePart):
    """The loss from target to student: pool, divergence, temperature, and the mass on labels."""

    pool: Literal["linear", "log", "power"] = Field(
        default="linear", description="how weighted teachers become one target"
    )
    exponent: float | None = Field(
        default=None, description="ρ of pool `power`: 1 is linear, near 0 log; null takes 0.5"
    )
    softening: Literal["temperature", "uniform", "prior"] | None = Field(
        default=None, description="what flattens each teacher before it is pooled; null: nothing"
    )
    softness: float | None = Field(
        default=None, description="how much: T > 0 of `temperature`, the share in [0, 1] mixed in by the others"
    )
    prior: list[float] | None = Field(
        default=None, description="of softening `prior`: a probability for each class or vocabulary entry"
    )
    divergence: Literal["forward_kl", "reverse_kl", "js"] = Field(default="forward_kl", description="target to student")
    temperature: float = Field(default=1.0, gt=0, description="of teachers and student; the loss is scaled by T²")
    distillation: float = Field(default=1.0, ge=0, description="weight of the divergence, the distillation mass")
    label: float = Field(default=0.0, ge=0, description="weight of cross-entropy on the text itself")

    @model_validator(mode="after")
    def _pool_and_exponent(self) -> Self:
        make_pool(self.pool, self.exponent)
        if self.distillation == 0 and self.label == 0:
            raise PydanticCustomError("nothing", "distillation or label must count, or nothing is learned")
        both = (self.softening is None) == (self.softness is None)
        require(both, "softening and softness must be given together", f"{self.softening} and {self.softness}")
        require(self.prior is None or self.softening is not None, "a prior must have its softening", "none", "Add it.")
        self.softener()
        return self

    def softener(self) -> FixedSoftener | None:
        """Return what flattens each teacher's distribution before it is pooled; None: nothing."""
        if self.softening is None or self.softness is None:
            return None
        return make_softener(self.softening, self.softness, self.prior)


class TrainSection(RecipePart):
    """The optimizer and its schedule."""

    steps: int = Field(default=300, ge=1, description="optimizer steps")
    batch_size: int = Field(default=8, ge=1, description="rows a forward pass and device")
    accumulation: int = Field(default=1, ge=1, description="forward passes an optimizer step")
    learning_rate: float = Field(default=2e-3, gt=0, description="peak of the schedule")
    schedule: Schedule = Field(default="cosine", description="a transformers schedule")
    warmup_steps: int = Field(default=20, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, ge=0, description="norm the student's gradient is clipped to; 0 for none")
    seed: int = Field(default=0, ge=0, le=MOST_SEED, description="initial weights and order of rows")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 where a GPU has it"
    )
    threads: int | None = Field(default=None, ge=1, le=1024, description="CPU threads; null leaves torch's default")
    save_every: int = Field(default=50, ge=1, description="steps between checkpoints")
    evaluate_every: int = Field(default=100, ge=1, description="steps between validations")
    log_every: int = Field(default=5, ge=1, description="steps between lines of metrics.jsonl")
    tracker: Literal["none", "tensorboard", "trackio"] = Field(
        default="tensorboard", description="where curves are logged too"
    )


class CacheSection(RecipePart):
    """The cache of the teachers' logits."""

    enabled: bool = Field(default=True, description="compute the teachers' logits once; false runs them every step")
    folder: str | None = Field(default=None, description="null: `cache` in the run's folder; name one to share it")
    limit_gb: float = Field(default=16.0, gt=0, description="refuse a cache larger than this")


class MonitorSection(RecipePart):
    """Which axioms are watched and what a violation does."""

    on_violation: Literal["raise", "repair", "record"] = Field(
        default="raise", description="repair: the conforming projection"
    )
    floor: float | None = Field(default=None, description="W-B to watch; null: what the scheme promises")
    cap: float | None = Field(default=None, description="likewise")
    order: str | None = Field(default=None, description="W-S to watch; null: what the scheme promises")
    pareto: Literal["record", "raise", "off"] = Field(
        "record", description="W-C, watched where the scheme reads gradients; nothing repairs it"
    )

    @field_validator("pareto", mode="before")
    @classmethod
    def _unquoted(cls, value: Any) -> Any:
        """YAML reads a bare ``off`` as false."""
        return "off" if value is False else value


class Recipe(RecipePart):
    """A whole recipe: everything that a run depends on."""

    name: str = Field(default="run", description="a name for tables")
    student: StudentSection = Field(description="who learns")
    teachers: list[TeacherSection] = Field(min_length=1, description="who teaches")
    data: DataSection = Field(description="on what text or examples")
    scheme: SchemeSection = Field(
        default_factory=SchemeSection, description="how teachers are weighted; empty: uniform"
    )
    loss: LossSection = Field(default_factory=LossSection)
    train: TrainSection = Field(default_factory=TrainSection)
    cache: CacheSection = Field(default_factory=CacheSection)
    monitor: MonitorSection = Field(default_factory=MonitorSection)
    safety: SafetySection | None = Field(default=None, description="what the student must not do; see docs/safety.md")

    @model_validator(mode="after")
    def _safe_loss(self) -> Self:
        """The bounds are those of the linear pool at T = 1; a target mixed with labels is another target."""
        if self.safety is None:
            return self
        if self.loss.pool != "linear" or self.loss.temperature != 1 or self.loss.softening is not None:
            said = "a recipe with `safety` must have loss.pool linear, temperature 1 and no softening"
            raise PydanticCustomError("safety", said)
        if self.safety.enforce == "target" and self.loss.label > 0:
            raise PydanticCustomError(
                "safety", "safety.enforce target must have loss.label 0: labels are no safe target"
            )
        if self.safety.trust is not None and self.scheme.order is not None:
            raise PydanticCustomError("safety", "safety.trust and scheme.order must not both be given")
        if self.safety.trust is None and self.safety.order_margin > 0:
            raise PydanticCustomError("safety", "safety.margin needs safety.trust")
        return self

    @property
    def teacher_names(self) -> list[str]:
        return [teacher.name for teacher in self.teachers]

    def digest(self) -> str:
        """Return SHA-256 of the recipe with every default filled in, 16 hex digits.

        The key of a wrapper, and softening, count where they are used, so that a recipe keeps its digest when one is
        added.
        """
        content = self.model_dump()
        for old, new in FORMER["scheme"].items():  # an identity outlives the names of keys
            content["scheme"][old] = content["scheme"].pop(new)
        if self.safety is None:
            del content["safety"]
        for entry in (entry for scale in SCALES for entry in content["scheme"][scale]):
            for key in (kind.key for kind in KEYED if kind.key.name not in _ALWAYS):
                if entry[key.name] == key.default:
                    del entry[key.name]
        if content["loss"]["softening"] is None:
            for name in ("softening", "softness", "prior"):
                del content["loss"][name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]  # noqa: TID251

    def __str__(self) -> str:
        return self.to_yaml()

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True, width=110)


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's own loader would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for (key, _), name in zip(node.value, keys, strict=False):
            if keys.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {name[1]!r} is there twice", key.start_mark)
        return super().construct_mapping(node, deep)


def load_recipe(path: str | Path) -> Recipe:
    """Return a recipe from a YAML file; model, data and rule paths in it that are relative count from its folder.

    Raises:
        InputError: no such file, no YAML, or all that is wrong with its keys and values, with the nearest valid key.
    """
    require(isinstance(path, str | Path), "a recipe must be a file's path", repr(path)[:80], "For example recipe.yaml.")
    path = Path(path)
    if not path.is_file():
        raise InputError("a recipe must exist", repr(str(path)), "`trivium recipe > recipe.yaml` writes one to edit.")
    try:
        content = _EachKeyOnce(path.read_text(encoding="utf-8-sig")).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # numbers and dates that are none, brackets too deep
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} must be YAML", reason, "Mind indentation and quotes.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must map keys to values", type(content).__name__, "See `trivium recipe`.")
    return parse_recipe(content, str(path))


def parse_recipe(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """Return a recipe from plain data; raises one :class:`InputError` that lists every problem."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        problems = [explain(problem, Recipe) for problem in error.errors()]
        raise InputError(
            f"{where} must be a valid recipe", "; ".join(problems), "`trivium recipe` shows every key."
        ) from None


def parse_loss(content: Mapping[str, Any]) -> LossSection:
    """Return the settings of a loss from plain data, as ``loss`` of a recipe has them; raises InputError."""
    try:
        return LossSection.model_validate(dict(content))
    except ValidationError as error:
        problems = [explain({**problem, "loc": ("loss", *problem["loc"])}, Recipe) for problem in error.errors()]
        raise InputError("the loss must have valid settings", "; ".join(problems), "See `trivium recipe`.") from None
