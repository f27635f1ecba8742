"""A world small enough to train in a second: a tokenizer, three teachers, two domains, a recipe for them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from trivium.teachers.live import LogitSource
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.run import PreparedRun, distill, prepare

TEACHERS = ("sums", "tales", "both")
DOMAINS = ("sums", "tales")
WINDOW = 32


def documents(domain: str, number: int, seed: int) -> list[str]:
    """Sums like ``12+7=19;`` or tales like ``the cat sees a dog.``, long enough for several windows."""
    draw = random.Random(f"{domain}/{seed}")
    found = []
    for _ in range(number):
        if domain == "sums":
            pairs = [(draw.randrange(20), draw.randrange(20)) for _ in range(30)]
            found.append(" ".join(f"{a}+{b}={a + b};" for a, b in pairs))
        else:
            nouns, verbs = ("cat", "dog", "bird", "ünïcorn"), ("sees", "likes", "follows")
            lines = [f"the {draw.choice(nouns)} {draw.choice(verbs)} a {draw.choice(nouns)}." for _ in range(25)]
            found.append(" ".join(lines))
    return found


def make_tokenizer(entries: int = 290) -> Any:
    """A byte-level BPE of 256 bytes, an end token and a few merges."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=entries,
        special_tokens=["<end>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents("sums", 4, 0) + documents("tales", 4, 0), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def student_config(**changes: Any) -> dict[str, Any]:
    """A llama of one layer."""
    return {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        **changes,
    }


def make_model(tokenizer: Any, seed: int, **changes: Any) -> Any:
    """A teacher with sharp, arbitrary opinions."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    options = student_config(initializer_range=0.5, **changes)
    del options["model_type"]
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=len(tokenizer), **options)).eval()


def merged(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` with the entries of ``changes`` put in; nested mappings are merged, all else replaced."""
    found = copy.deepcopy(content)
    for key, value in changes.items():
        inside = isinstance(value, Mapping) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if inside else copy.deepcopy(value)
    return found


class World:
    """The files of a tiny world below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = make_tokenizer()
        self.tokenizer.save_pretrained(folder / "tokenizer")
        for seed, name in enumerate(TEACHERS):
            self.add_model(name, make_model(self.tokenizer, seed))
        for domain in DOMAINS:
            for seed, split in enumerate(("train", "validation", "test")):
                lines = [json.dumps({"text": text}) for text in documents(domain, 6, seed)]
                (folder / f"{domain}.{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def add_model(self, name: str, model: Any, tokenizer: Any = None) -> None:
        model.save_pretrained(self.folder / name)
        (tokenizer or self.tokenizer).save_pretrained(self.folder / name)

    def content(self, **changes: Any) -> dict[str, Any]:
        """Two teachers, one rule at each scale, twelve steps."""
        content: dict[str, Any] = {
            "name": "tiny",
            "student": {"config": student_config(), "tokenizer": "tokenizer"},
            "teachers": [{"name": name, "model": name} for name in TEACHERS[:2]],
            "data": {
                "window": WINDOW,
                "train_rows": 24,
                "evaluation_rows": 4,
                "test_rows": 6,
                "domains": [
                    {
                        "name": domain,
                        "task": domain,
                        **{split: f"{domain}.{split}.jsonl" for split in ("train", "validation", "test")},
                    }
                    for domain in DOMAINS
                ],
            },
            "scheme": {
                "token": [{"rule": "entropy", "options": {"strength": 0.5}}],
                "task": [{"rule": "skill"}],
                "context": [{"rule": "prefix_posterior"}],
                "budget": {"token": 1.0, "task": 1.0, "context": 3.0},
                "floor": 0.001,
                "cap": 0.999,
            },
            "train": {
                "steps": 12,
                "batch_size": 4,
                "learning_rate": 5e-3,
                "warmup_steps": 2,
                "save_every": 4,
                "evaluate_every": 6,
                "log_every": 3,
                "threads": 1,
                "tracker": "none",
            },
        }
        return merged(content, changes)

    def recipe(self, **changes: Any) -> Recipe:
        return parse_recipe(self.content(**changes))

    def write(self, name: str, **changes: Any) -> Path:
        """A recipe file in the world's folder."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(self.content(**changes)), encoding="utf-8")
        return path

    def prepared_run(self, recipe: Recipe, cache: Path | None = None) -> PreparedRun:
        return prepare(recipe, self.folder, cache or self.folder / "cache")


class Tampered:
    """A source of logits that becomes NaN for one teacher after ``calls`` calls."""

    def __init__(self, source: LogitSource, teacher: int, calls: int) -> None:
        self.source, self.teacher, self.left = source, teacher, calls

    def logits(self, rows: Tensor) -> list[Tensor]:
        found = [value.clone() for value in self.source.logits(rows)]
        if self.left <= 0:
            found[self.teacher][0, 3] = torch.nan
        self.left -= 1
        return found


def with_train_source(prepared_run: PreparedRun, source: LogitSource) -> PreparedRun:
    return replace(prepared_run, sources={**prepared_run.sources, "train": source})


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of a saved model."""
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All (path, value) below a nested mapping or list."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def resumed(recipe: Recipe, folder: Path, run: Path, at: int) -> dict[str, Tensor]:
    """The student of a run of ``recipe`` from ``folder`` that is ended at a validation and gone on with."""

    class Stopped(Exception):
        pass

    def watch(step: int, value: float) -> None:
        if step == at:
            raise Stopped

    with pytest.raises(Stopped):
        distill(recipe, prepare(recipe, folder, folder / "cache"), run, watch=watch)
    distill(recipe, prepare(recipe, folder, folder / "cache", resumed=run), run, resume=True)
    return weights_of(run / "student")
