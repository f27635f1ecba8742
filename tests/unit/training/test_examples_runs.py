"""Runs on labelled examples: two tasks with their own classes, teachers that serve one of them, any kind of model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tiers import first
from tiny_examples import CLASSES, TEACHERS, ExamplesWorld
from trivium.data.examples import Examples
from trivium.errors import AxiomViolation, InputError
from trivium.scheme import compose
from trivium.training.build import build_scheme
from trivium.training.collect import batch_gram, collect_features
from trivium.training.compare import bootstrap, comparison
from trivium.training.evaluate import batch_of, mixture_nats, nats_and_correct, student_nll, teacher_nll
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.run import PreparedRun, distill, prepare
from trivium.training.tasks.classifiers import build_classifier_student, label_space
from trivium.training.trace import read_trace
from trivium.weighting import Disagreement, Entropy, Skill, Static, rule

BOTH, SIZER, SIGNER = range(3)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    return ExamplesWorld(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def two_tasks(small: ExamplesWorld) -> Recipe:
    return small.recipe()


@pytest.fixture(scope="module")
def shop(small: ExamplesWorld, two_tasks: Recipe) -> PreparedRun:
    return small.prepared_run(two_tasks)


@pytest.fixture(scope="module")
def finished(two_tasks: Recipe, shop: PreparedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples_runs") / "plain"
    distill(two_tasks, shop, folder)
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "student" / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rows_of(shop: PreparedRun, split: str = "train") -> Examples:
    rows = getattr(shop.tables, split)
    assert isinstance(rows, Examples)
    return rows


def test_a_run_leaves_what_a_run_on_text_leaves(finished: Path, shop: PreparedRun) -> None:
    names = {path.name for path in finished.iterdir()}
    wanted = {"recipe.yaml", "identity.json", "metrics.jsonl", "nats.json", "accuracy.json", "student", "checkpoint-12"}
    assert wanted <= names
    lines = read_trace(finished / "metrics.jsonl")
    evals = [line for line in lines if line["kind"] == "eval"]
    assert [line["step"] for line in evals] == [0, 6, 12]
    for line in evals:
        assert set(line["nats"]) == set(line["accuracy"]) == {"size", "sign"}
        assert line["mean"] == pytest.approx(sum(line["nats"].values()) / 2, rel=1e-5)
    assert evals[-1]["mean"] < evals[0]["mean"]


def test_resumed_equals_uninterrupted(
    two_tasks: Recipe, shop: PreparedRun, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trivium.training import distiller

    class Cut(Exception):
        pass

    whole = distiller.distillation_step
    calls = 0

    def cut(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise Cut
        return whole(*args, **kwargs)

    monkeypatch.setattr(distiller, "distillation_step", cut)
    with pytest.raises(Cut):
        distill(two_tasks, shop, tmp_path / "run")
    monkeypatch.setattr(distiller, "distillation_step", whole)
    assert {path.name for path in (tmp_path / "run").glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    distill(two_tasks, shop, tmp_path / "run", resume=True)
    assert same(tmp_path / "run", finished)
    kept = [[row for row in read_trace(f / "metrics.jsonl") if row["step"] > 8] for f in (tmp_path / "run", finished)]
    assert kept[0] == kept[1]


def test_tied_weights_are_kept_in_checkpoints(small: ExamplesWorld, tmp_path: Path) -> None:
    (small.folder / "tied.py").write_text(
        "import torch\n"
        "def student():\n"
        "    first, second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)\n"
        "    second.weight = first.weight\n"
        "    return torch.nn.Sequential(first, torch.nn.Tanh(), second, torch.nn.Linear(4, 3).requires_grad_(False))\n",
        encoding="utf-8",
    )
    content = small.one_task()
    content["student"] = {"model": "tied.py:student"}
    content["train"] |= {"steps": 6, "save_every": 3}
    recipe = parse_recipe(content)
    prepared_run = small.prepared_run(recipe)
    whole = distill(recipe, prepared_run, tmp_path / "run")["student"]
    for path in (tmp_path / "run").glob("checkpoint-6"):
        path.rename(tmp_path / "gone")
    resumed = distill(recipe, prepared_run, tmp_path / "run", resume=True)["student"]
    assert torch.equal(resumed, whole)


@pytest.mark.deep
def test_accumulation_gives_what_one_large_batch_gives(small: ExamplesWorld, shop: PreparedRun, tmp_path: Path) -> None:
    for name, size, parts in (("large", 16, 1), ("small", 4, 4)):
        train = {"batch_size": size, "accumulation": parts, "steps": 5}
        distill(small.recipe(name=name, train=train), shop, tmp_path / name)
    large, parts = weights(tmp_path / "large"), weights(tmp_path / "small")
    assert max(float((large[name] - parts[name]).abs().max()) for name in large) < 2e-5


def test_each_teacher_is_heard_on_its_own_tasks_alone(
    shop: PreparedRun, two_tasks: Recipe, small: ExamplesWorld
) -> None:
    rows = rows_of(shop)
    batch = batch_of(rows, torch.arange(len(rows)), shop.sources["train"])
    scheme = build_scheme(two_tasks, small.folder)
    features = collect_features(scheme, batch, None, shop.validation_loss)
    found = batch.restricted(scheme.log_weights(features)).exp().squeeze(1)
    size = batch.task == 0
    assert bool((found[size][:, SIGNER] == 0).all())
    assert bool((found[~size][:, SIZER] == 0).all())
    torch.testing.assert_close(found.sum(-1), torch.ones(len(rows)))
    assert float(found[batch.teacher_mask].min()) >= 0.01 - 1e-6  # the floor only rises
    assert float(found.max()) > 0.6  # and the cap need not hold


def test_absent_teachers_change_nothing_for_those_that_serve(shop: PreparedRun) -> None:
    """Features, budget and all: the weights on a task are those of a scheme of its own teachers."""
    rows = rows_of(shop)
    for task, present in ((0, [BOTH, SIZER]), (1, [BOTH, SIGNER])):
        index = (rows.task == task).nonzero().flatten()
        batch = batch_of(rows, index, shop.sources["train"])

        def rules() -> dict[str, Any]:
            return {"token": [Entropy(2.0, budget=0.7), Disagreement(3.0)], "task": [Skill(1.5, budget=0.2)]}

        whole = compose(TEACHERS, **rules(), budget=1.0)
        features = collect_features(whole, batch, None, shop.validation_loss)
        found = batch.restricted(whole.log_weights(features))[..., present]
        assert bool(
            torch.isfinite(torch.stack([f.expand(*found.shape[:2], -1).sum() for f in features.values()])).all()
        )
        alone = type(batch)(
            batch.labels, [batch.teacher_logits[k] for k in present], batch.domain, batch.task, batch.columns
        )
        part = compose([TEACHERS[k] for k in present], **rules(), budget=1.0)
        own = part.log_weights(collect_features(part, alone, None, shop.validation_loss[:, present]))
        torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-5)


def test_validation_losses_are_means_a_task_and_absent_where_a_teacher_is(shop: PreparedRun) -> None:
    rows, source = rows_of(shop, "validation"), shop.sources["validation"]
    sums, counts = torch.zeros(2, 3, dtype=torch.float64), [0, 0]
    for row in range(len(rows)):
        task = int(rows.task[row])
        counts[task] += 1
        for k, logits in enumerate(source.logits(torch.tensor([row]))):
            inside = [float(z) for z in logits[0, 0].double() if math.isfinite(z)]
            label = float(logits[0, 0, int(rows.labels[row, 0])])
            sums[task, k] += math.log(math.fsum(math.exp(z) for z in inside)) - label
    expected = sums / torch.tensor(counts).unsqueeze(-1)
    assert shop.validation_loss.isnan().tolist() == [[False, False, True], [False, True, False]]
    known = ~shop.validation_loss.isnan()
    torch.testing.assert_close(shop.validation_loss[known].double(), expected[known], rtol=1e-4, atol=1e-5)


def test_the_student_is_masked_to_the_task_and_learns_no_other_head(small: ExamplesWorld, shop: PreparedRun) -> None:
    recipe = small.recipe()
    classifier_student = build_classifier_student(recipe, small.folder)
    rows = rows_of(shop)
    only = (rows.task == 1).nonzero().flatten()
    logits = classifier_student(**rows.arguments(only)).logits
    assert logits.shape == (len(only), 1, 5)
    assert bool(logits[..., :3].isneginf().all())
    inner: Any = classifier_student.inner
    x = rows.inputs.values["x"]
    assert isinstance(x, Tensor)
    torch.testing.assert_close(logits[:, 0, 3:], inner(x[only])["sign"])
    logits.log_softmax(-1)[..., 3].sum().backward()
    assert inner.sign.weight.grad.abs().sum() > 0
    assert inner.size.weight.grad is None or float(inner.size.weight.grad.abs().sum()) == 0


@pytest.mark.parametrize("pool", first(["linear", "log"]))
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "js"])
def test_every_loss_trains_with_two_label_sets(
    small: ExamplesWorld, shop: PreparedRun, tmp_path: Path, pool: str, divergence: str
) -> None:
    loss = {"pool": pool, "divergence": divergence, "temperature": 2.0, "label": 0.5}
    distill(small.recipe(loss=loss, train={"steps": 3}), shop, tmp_path / "run")
    steps = [row for row in read_trace(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "step"]
    assert all(math.isfinite(row["loss"]) and row["label"] > 0 for row in steps)


def test_nats_and_correctness_are_what_a_loop_finds(finished: Path, shop: PreparedRun, two_tasks: Recipe) -> None:
    rows, source = rows_of(shop, "test"), shop.sources["test"]
    stored = json.loads((finished / "nats.json").read_text(encoding="utf-8"))
    assert set(stored) == {n + s for n in ("student", "teachers", "mixture") for s in ("", "_correct")}
    for row in range(len(rows)):
        label = int(rows.labels[row, 0])
        for k, logits in enumerate(source.logits(torch.tensor([row]))):
            p = logits[0, 0].double().softmax(-1)
            if bool(rows.serves[int(rows.task[row]), k]):
                assert stored["teachers"][row][k] == pytest.approx(-math.log(float(p[label])), rel=1e-4, abs=1e-6)
                assert stored["teachers_correct"][row][k] == float(int(p.argmax()) == label)
            else:
                assert stored["teachers"][row][k] is None, "not NaN, which is no JSON"
                assert stored["teachers_correct"][row][k] is None


def test_accuracy_is_told_by_domain_and_task(finished: Path, shop: PreparedRun) -> None:
    found = json.loads((finished / "accuracy.json").read_text(encoding="utf-8"))
    rows, stored = rows_of(shop, "test"), json.loads((finished / "nats.json").read_text(encoding="utf-8"))
    assert found["tasks"] == CLASSES
    assert found["domains"] == {"size": 40, "sign": 30}
    by_name = {row["name"]: row for row in found["rows"]}
    assert list(by_name) == ["student", "mixture", *TEACHERS]
    chosen = (rows.task == 1).tolist()
    for name in ("student", "mixture"):
        of_task = [c for c, keep in zip(stored[f"{name}_correct"], chosen, strict=True) if keep]
        assert by_name[name]["tasks"]["sign"]["accuracy"] == pytest.approx(sum(of_task) / 30)
        assert by_name[name]["nats"] == pytest.approx(sum(stored[name]) / 70)
    assert by_name["sizer"]["tasks"]["sign"] == {"nats": None, "accuracy": None}
    assert by_name["sizer"]["accuracy"] == by_name["sizer"]["domains"]["size"]["accuracy"]


def test_the_paired_bootstrap_takes_examples_for_documents(finished: Path, shop: PreparedRun) -> None:
    rows = rows_of(shop, "test")
    read = json.loads((finished / "nats.json").read_text(encoding="utf-8"))
    stored = {n: torch.tensor(v) for n, v in read.items() if not n.startswith("teachers")}
    runs = {"student": stored["student"], "mixture": stored["mixture"]}
    content = comparison({"student": runs}, rows, {n: n for n in runs}, [("student", "mixture")], "")
    assert content["unit"] == "nats an example"
    first = content["rows"][0]
    assert first["nats"]["size"] == pytest.approx(float(stored["student"][rows.domain == 0].mean()))
    assert first["mean"] == pytest.approx(sum(first["nats"].values()) / 2)
    low, high = content["differences"][0]["interval"]
    assert low < content["differences"][0]["difference"] < high
    right = bootstrap({"a": stored["student_correct"]}, rows, draws=200)
    assert right.domains["a"]["sign"] == pytest.approx(float(stored["student_correct"][rows.domain == 1].mean()))


def test_a_mixture_with_all_weight_on_one_teacher_is_that_teacher(shop: PreparedRun) -> None:
    rows, source = rows_of(shop, "test"), shop.sources["test"]
    only = compose(TEACHERS, task=[Static((1e-30, 1.0, 1.0))])
    mixed = mixture_nats(only, source, rows, shop.validation_loss, score=nats_and_correct)
    expected = teacher_nll(source, rows, nats_and_correct)
    size = rows.task == 0
    torch.testing.assert_close(mixed[size], expected[size][:, SIZER], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed[~size], expected[~size][:, SIGNER], rtol=1e-4, atol=1e-5)


def test_own_features_follow_their_examples_and_stand_in(small: ExamplesWorld) -> None:
    (small.folder / "trust.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='context', features={'trust': (0.0, 1.0)})\n"
        "def by_trust(trust):\n"
        "    return torch.softmax(trust, dim=-1)\n",
        encoding="utf-8",
    )
    content = small.content(scheme={"task": [], "context": [{"rule": "trust.py:by_trust"}], "budget": None})
    content["data"]["domains"] = content["data"]["domains"][1:]  # the domain whose source has the column
    content["data"]["tasks"] = {"sign": CLASSES["sign"], "other": ["x", "y"]}
    for teacher, tasks in zip(content["teachers"], (["sign"], ["other"], ["sign"]), strict=True):
        teacher |= {"model": "mine.py:signer", "gives": "probabilities", "tasks": tasks}
    content["data"]["domains"].append(content["data"]["domains"][0] | {"name": "second", "task": "other"})
    for domain in content["data"]["domains"]:
        domain |= {split: "mine.py:sign_train" for split in ("train", "validation", "test")}
    content["teachers"][1]["model"] = "mine.py:signer"
    (small.folder / "four.py").write_text(
        "import torch\n\n\ndef student():\n    return torch.nn.Linear(4, 4)\n", "utf-8"
    )
    content["student"] = {"model": "four.py:student"}
    recipe = parse_recipe(content)
    prepared_run = small.prepared_run(recipe)
    rows = rows_of(prepared_run)
    expected = torch.arange(120.0).view(40, 3)[[int(name.rpartition(":")[2]) for name in rows.document]] / 120
    torch.testing.assert_close(rows.columns["trust"], expected)
    scheme = build_scheme(recipe, small.folder)
    batch = batch_of(rows, torch.arange(len(rows)), prepared_run.sources["train"])
    seen = collect_features(scheme, batch, None, prepared_run.validation_loss)["trust"].squeeze(1)
    sign = batch.task == 0
    torch.testing.assert_close(seen[sign], expected[sign][:, [0, 0, 2]])
    torch.testing.assert_close(seen[~sign], expected[~sign][:, [1, 1, 1]])


def test_a_rule_that_leaves_the_serving_teachers_nothing_stops_the_run(
    small: ExamplesWorld, shop: PreparedRun, tmp_path: Path
) -> None:
    (small.folder / "hard.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features=['entropy'])\n"
        "def hard(entropy):\n"
        "    return torch.tensor([0.0, 1.0, 0.0]).expand(entropy.shape)\n",
        encoding="utf-8",
    )
    scheme = {"token": [{"rule": "hard.py:hard"}], "task": [], "budget": None, "floor": 0.0, "cap": 1.0}
    recipe = small.recipe(scheme=scheme, monitor={"on_violation": "record"})
    with pytest.raises(AxiomViolation, match="the teachers that serve a row must have weight"):
        distill(recipe, shop, tmp_path / "run")


def test_a_rule_from_gradients_is_watched_by_the_matrix_of_the_batch(
    small: ExamplesWorld, shop: PreparedRun, tmp_path: Path
) -> None:
    """Each teacher's mean gradient is over the rows that it serves; its weight is zero on the others."""
    scheme = {"token": [], "task": [{"rule": "aekd"}], "budget": None, "floor": 0.0, "cap": 1.0}
    recipe = small.recipe(scheme=scheme, train={"steps": 1, "log_every": 1}, monitor={"pareto": "record"})
    distill(recipe, shop, tmp_path / "run")
    [seen] = [row for row in read_trace(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "step"]
    rows = rows_of(shop)
    index = torch.arange(0, 96, 4)  # of both tasks
    batch = batch_of(rows, index, shop.sources["train"])
    logits = build_classifier_student(recipe, small.folder)(**rows.arguments(index)).logits
    built = build_scheme(recipe, small.folder)
    assert batch.teacher_mask is not None
    means = []
    for k, teacher in enumerate(batch.teacher_logits):
        served = [n for n in range(24) if bool(batch.teacher_mask[n, k])]
        means.append(
            torch.stack([logits[n, 0].softmax(-1) - teacher[n, 0].float().softmax(-1) for n in served]).mean(0)
        )
    expected = torch.stack(means) @ torch.stack(means).T
    torch.testing.assert_close(batch_gram(built, batch, logits).view(3, 3), expected.detach(), atol=1e-5, rtol=1e-4)
    found = collect_features(built, batch, logits, shop.validation_loss)["gram"].view(24, 3, 3)
    for n in range(24):
        stand = [k if bool(batch.teacher_mask[n, k]) else BOTH for k in range(3)]
        torch.testing.assert_close(found[n], expected.detach()[stand][:, stand], atol=1e-5, rtol=1e-4)
    assert math.isfinite(seen["axioms"]["W-C"])


@pytest.mark.deep
def test_languages_are_domains_with_reports_of_their_own(small: ExamplesWorld, tmp_path: Path) -> None:
    """One task in three languages, told by a domain map and reported language by language."""
    words = {"en": ("good", "bad"), "de": ("gut", "schlecht"), "fr": ("bon", "mauvais")}
    for language, (good, bad) in words.items():
        lines = [json.dumps({"text": f"{w} {n}", "label": k}) for n in range(30) for k, w in ((1, good), (0, bad))]
        (tmp_path / f"{language}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "m.py").write_text(
        "import torch\n"
        f"WORDS = {words!r}\n"
        "def speaker(language):\n"
        "    good, bad = WORDS[language]\n"
        "    def teacher(texts):\n"
        "        known = lambda t: 1.0 if t.split()[0] == good else 0.0 if t.split()[0] == bad else 0.5\n"
        "        return torch.tensor([[1 - known(t), known(t)] for t in texts])\n"
        "    return teacher\n"
        "en, de, fr = (speaker(language) for language in WORDS)\n"
        "class Student(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.bag = torch.nn.EmbeddingBag(997, 2)\n"
        "    def forward(self, texts):\n"
        "        ids = [sum(ord(c) * 31**i for i, c in enumerate(t.split()[0])) % 997 for t in texts]\n"
        "        return self.bag(torch.tensor(ids).unsqueeze(-1))\n",
        encoding="utf-8",
    )
    content = small.content(name="languages")
    parts = {split: f".jsonl#{split}" for split in ("train", "validation", "test")}
    content |= {
        "student": {"model": "m.py:Student"},
        "teachers": [
            {"name": name, "model": f"m.py:{name}", "gives": "probabilities", "smoothing": 0.02} for name in words
        ],
        "scheme": {"context": [{"rule": "domain_map", "options": {"map": {n: n for n in words}, "budget": 5.0}}]},
        "data": {
            "kind": "examples",
            "tasks": {"mood": ["bad", "good"]},
            "domains": [{"name": n, "task": "mood"} | {s: f"{n}{end}" for s, end in parts.items()} for n in words],
        },
    }
    content["train"] |= {"steps": 60, "learning_rate": 0.3, "warmup_steps": 0}
    recipe = parse_recipe(content)
    prepared_run = _prepared(recipe, tmp_path)
    distill(recipe, prepared_run, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "accuracy.json").read_text(encoding="utf-8"))
    student, mixture, *teachers = found["rows"]
    for row in teachers:  # each knows its own language, and nothing of the others
        for language in words:
            nll = row["domains"][language]["nats"]
            assert nll < 0.05 if language == row["name"] else nll == pytest.approx(math.log(2), rel=1e-3)
    for language in words:
        assert mixture["domains"][language]["nats"] < 0.05
        assert student["domains"][language]["accuracy"] == 1.0


def _prepared(recipe: Recipe, folder: Path) -> PreparedRun:
    return prepare(recipe, folder, folder / "cache")


def test_a_sequence_classifier_of_transformers_teaches_another(tmp_path: Path, small: ExamplesWorld) -> None:
    from transformers import AutoModelForSequenceClassification, BertConfig

    from tiny_world import make_tokenizer, student_config

    labels = ["calm", "loud"]
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<end>"
    for seed, (name, entries) in enumerate((("one", 290), ("two", 280))):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            initializer_range=0.5, id2label=dict(enumerate(labels)), label2id={"calm": 0, "loud": 1}, pad_token_id=0,
        )  # fmt: skip
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / name)
        make_tokenizer(entries).save_pretrained(tmp_path / name)  # tokenizers may differ: each reads the text itself
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    lines = [json.dumps({"text": f"the cat {'!' * (n % 2)} {n}", "label": labels[n % 2]}) for n in range(80)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    content = small.content(name="sequences")
    content |= {
        "student": {"config": student_config(num_hidden_layers=1), "tokenizer": "tokenizer"},
        "teachers": [{"name": "one", "model": "one"}, {"name": "two", "model": "two"}],
        "data": {
            "kind": "examples",
            "tasks": {"tone": labels},
            "window": 16,
            "domains": [{"name": "t", "task": "tone", "train": "t.jsonl#train", "validation": "t.jsonl#validation"}],
        },
    }
    content["scheme"]["cap"] = 1.0
    content["train"] |= {"steps": 4, "batch_size": 8}
    recipe = parse_recipe(content)
    prepared_run = _prepared(recipe, tmp_path)
    found = distill(recipe, prepared_run, tmp_path / "run")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "student")
    assert loaded.config.id2label == {0: "calm", 1: "loud"}
    again = parse_recipe(content | {"student": {"model": str(tmp_path / "run" / "student")}})
    rows, _ = prepared_run.held_out
    torch.testing.assert_close(
        student_nll(build_classifier_student(again, tmp_path), rows), found["student"], rtol=1e-4, atol=1e-5
    )
    told: list[str] = []
    content["data"]["tasks"] = {"tone": labels[::-1]}  # an order that the folders name otherwise is put right
    turned = prepare(parse_recipe(content), tmp_path, tmp_path / "cache", lambda stage, done, total: told.append(stage))
    torch.testing.assert_close(turned.validation_loss, prepared_run.validation_loss)
    assert "note: teacher 'one' has its classes in another order, calm, loud; they are put into the recipe's" in told


def test_archives_are_read_by_an_image_classifier(tmp_path: Path, small: ExamplesWorld) -> None:
    from transformers import AutoModelForImageClassification, ViTConfig

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
             "image_size": 4, "patch_size": 2, "num_channels": 1}  # fmt: skip
    torch.manual_seed(0)
    AutoModelForImageClassification.from_config(ViTConfig(**shape, initializer_range=0.5)).save_pretrained(
        tmp_path / "teacher"
    )
    draw = np.random.default_rng(0)
    pixels = draw.standard_normal((60, 1, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "i.npz", pixel_values=pixels, label=draw.integers(0, 2, 60))
    content = small.content(name="images")
    content |= {
        "student": {"config": {"model_type": "vit", **shape}},
        "teachers": [{"name": "t", "model": "teacher"}],
        "scheme": {},
        "data": {
            "kind": "examples",
            "tasks": {"kind": ["a", "b"]},
            "domains": [{"name": "i", "task": "kind", "train": "i.npz#train", "validation": "i.npz#validation"}],
        },
    }
    content["train"] |= {"steps": 3, "batch_size": 8}
    recipe = parse_recipe(content)
    found = distill(recipe, _prepared(recipe, tmp_path), tmp_path / "run")
    assert bool(torch.isfinite(found["student"]).all())


def test_training_needs_no_labels_where_nothing_reads_them(small: ExamplesWorld, tmp_path: Path) -> None:
    content = small.one_task()
    content["data"]["domains"][0]["train"] = "mine.py:unlabelled"
    recipe = parse_recipe(content)
    distill(recipe, small.prepared_run(recipe), tmp_path / "run")
    (small.folder / "cheat.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features=['label_log_prob'])\n"
        "def cheat(label_log_prob):\n"
        "    return torch.softmax(label_log_prob, dim=-1)\n",
        encoding="utf-8",
    )
    for changes in ({"loss": {"label": 0.1}}, {"scheme": {**content["scheme"], "token": [{"rule": "cheat.py:cheat"}]}}):
        with pytest.raises(InputError, match="must have a label"):
            small.prepared_run(parse_recipe(content | changes))


def test_every_feature_of_one_position_is_there(small: ExamplesWorld) -> None:
    names = ["entropy", "max_prob", "margin", "disagreement", "gap", "label_log_prob", "validation_loss"]
    recipe = parse_recipe(small.one_task())
    prepared_run = small.prepared_run(recipe)
    rows = rows_of(prepared_run)
    batch = batch_of(rows, torch.arange(6), prepared_run.sources["train"])

    @rule(scale="token", features=names)
    def everything(**features: Tensor) -> Tensor:
        return torch.softmax(sum(features.values(), torch.zeros(())), -1)

    scheme = compose(recipe.teacher_names, token=[everything])
    logits = torch.randn(6, 1, 3)
    found = collect_features(scheme, batch, logits, prepared_run.validation_loss)
    assert set(found) == set(names)
    assert scheme.log_weights(found).shape == (6, 1, 2)
    p = batch.teacher_logits[0][2, 0].double().softmax(-1)
    label = int(batch.labels[2, 0])
    assert float(found["label_log_prob"][2, 0, 0]) == pytest.approx(math.log(float(p[label])), abs=1e-3)


def test_a_teacher_that_lacks_a_class_has_an_infinite_loss_and_the_mixture_has_not(
    small: ExamplesWorld, tmp_path: Path
) -> None:
    (small.folder / "lacking.py").write_text(
        "import torch\ndef lacking(x):\n    return torch.tensor([[0.5, 0.5, 0.0]]).expand(len(x), -1)\n",
        encoding="utf-8",
    )
    content = small.one_task()
    content["teachers"][1] = {"name": "lacking", "model": "lacking.py:lacking", "gives": "probabilities"}
    recipe = parse_recipe(content)
    prepared_run = small.prepared_run(recipe)
    assert float(prepared_run.validation_loss[0, 1]) == math.inf
    found = distill(recipe, prepared_run, tmp_path / "run")
    assert bool(found["teachers"][:, 1].isinf().any())
    assert bool(torch.isfinite(found["mixture"]).all())
    row = json.loads((tmp_path / "run" / "accuracy.json").read_text(encoding="utf-8"))["rows"][3]
    assert row["name"] == "lacking"
    assert row["nats"] is None
    assert 0 < row["accuracy"] < 1


def test_label_spaces_follow_the_recipe(two_tasks: Recipe) -> None:
    assert label_space(two_tasks).classes == (("small", "medium", "large"), ("minus", "plus"))
