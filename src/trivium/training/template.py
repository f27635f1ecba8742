"""A recipe to start from, with every key, its default and what it means, written from the models themselves."""

from __future__ import annotations

from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from trivium.training.recipe import Recipe
from trivium.training.safety_section import SafetySection
from trivium.weighting import RULES

_EXAMPLE: dict[str, Any] = {
    "student": {"model": "models/student"},
    "teachers": [{"name": "code", "model": "models/code"}, {"name": "prose", "model": "models/prose"}],
    "data": {
        "domains": [
            {
                "name": "code",
                "train": "code.jsonl#train",
                "validation": "code.jsonl#validation",
                "test": "code.jsonl#test",
            },
            {"name": "prose", "train": "prose.txt", "validation": "held-out.txt"},
        ]
    },
    "scheme": {
        "token": [{"rule": "entropy", "options": {"strength": 0.5}}],
        "context": [{"rule": "prefix_posterior", "options": {"budget": 4.0}}],
    },
}


_SAFETY: dict[str, Any] = {
    "critical": {"domains": ["code"]},
    "unsafe": {"strings": ["eval(", "os.system("], "not_after": "."},
    "trust": "code > prose",
    "limit": 0.001,
    "enforce": "constraint",
}

#: What a recipe of labelled examples has in place of text: shown at the end, as comments.
EXAMPLES = """\
student: {model: "mine.py:Student"}  # a torch.nn.Module, or what makes one; or a transformers folder or config
teachers:
  - {name: forest, model: "mine.py:forest", tasks: [topic], gives: probabilities, smoothing: 0.01}
  - {name: encoder, model: models/encoder}  # sequence or image classification; its id2label is checked
data:
  kind: examples
  tasks: {topic: [sports, science, trade], spam: ["no", "yes"]}  # each task's classes, in order
  domains:  # sources: FILE.py:NAME, FILE.jsonl or FILE.npz; #train, #validation, #test keep that part
    - {name: news, task: topic, train: "mine.py:news_train", validation: "mine.py:news_validation"}
    - {name: mail, task: spam, train: "mail.jsonl#train", validation: "mail.jsonl#validation"}
scheme:
  token: [{rule: entropy, options: {strength: 0.5}}]  # an example is one position: no rule of the prefix
"""


def template() -> str:
    """YAML that :func:`trivium.training.recipe.load_recipe` takes as it stands; paths are examples to replace."""
    rules = ", ".join(sorted(RULES))
    head = [
        "# A Trivium recipe. Keys not given take the values shown; paths count from this file.",
        f"# Built-in rules: {rules}; or FILE.py:NAME for your own.",
        "",
    ]
    tail = ["", "# Labelled examples instead of text:", *(f"# {line}" for line in EXAMPLES.splitlines())]
    safe = ["", "# What the student must not do, instead of `safety: null`:", "# safety:"]
    safe += [f"# {line}" for line in _lines(SafetySection, _SAFETY, 1)]
    return "\n".join(head + _lines(Recipe, _EXAMPLE, 0) + safe + tail) + "\n"


def _lines(model: type[BaseModel], given: dict[str, Any], depth: int) -> list[str]:
    pad, lines = "  " * depth, []
    for name, field in model.model_fields.items():
        comment = f"  # {field.description}" if field.description else ""
        inner = _model_of(field)
        value = given.get(name, _default(field))
        if inner is None or value is None or (isinstance(value, list) and not value):
            lines.append(f"{pad}{name}: {_scalar(value)}{comment}")
        elif isinstance(value, list):
            lines.append(f"{pad}{name}:{comment}")
            for item in value:
                entry = _lines(inner, item, depth + 2)
                lines += [f"{pad}  - {entry[0].strip()}", *entry[1:]]
        else:
            lines.append(f"{pad}{name}:{comment}")
            lines += _lines(inner, value if isinstance(value, dict) else {}, depth + 1)
    return lines


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return {}
    return {} if isinstance(value, BaseModel) else value


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _scalar(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000).replace("\n...", "").strip()
