"""A kind of data that nobody here knows of: pairs of texts, ranked, added by one file.

Catches what no test of text or labelled examples can: a place that asks which of the two it has, or a step of a run
that works for these two alone.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

import trivium
from tiny_world import DOMAINS, documents, resumed, weights_of
from trivium.cli import app, work
from trivium.errors import InputError
from trivium.training.fitting import fit_recipe
from trivium.training.recipe import Recipe, load_recipe, parse_recipe
from trivium.training.run import PreparedRun, distill, prepare
from trivium.training.tasks import TASKS, Task, register, task_of
from trivium.training.trace import read_trace
from trivium.weighting.loading import load_object

SOURCE = Path(trivium.__file__).parent

#: All of the third task: where pairs come from, how a model of one text answers for two, what is measured.
RANKING = '''
"""Pairs of texts, ranked: the label says which is the better one, and a model gives one score a text.

The logits of "first" and "second" are the two scores, so p(first) = 1 / (1 + e^(s2 - s1)), Bradley and Terry's.
"""

import torch

from trivium.data.examples import DomainExamples, make_examples
from trivium.data.labelled import Columns, read_examples
from trivium.data.labels import LabelSpace
from trivium.store.identity import Identity
from trivium.teachers.admission import unsaid
from trivium.teachers.classifier import Classifier, Heads
from trivium.training.evaluate import nats_and_correct, teacher_nll, validation_losses
from trivium.training.classifier_student import ClassifierStudent
from trivium.training.tasks.base import Materials, own_features, three
from trivium.training.tasks.classifiers import (
    admit_classifier,
    admit_classifier_student,
    identity_of,
    made,
    own_student,
)

SPACE = LabelSpace.of({"better": ["first", "second"]})
HEADS = Heads(SPACE.tasks, SPACE.task_of_class, (0,))


class Scores(torch.nn.Module):
    """A model of one text, asked about both."""

    def __init__(self, scorer):
        super().__init__()
        self.scorer = scorer

    def forward(self, text, text_pair):
        return torch.stack([self.scorer(text), self.scorer(text_pair)], -1)


class Ranking:
    measures = {"nats": "", "ranked": "_ranked"}

    def score(self, log_p, labels):
        return nats_and_correct(log_p, labels)

    def sizes(self, recipe, base):
        return {"tasks": lambda: 1, "classes": lambda: 2}

    def admit(self, scheme):
        """A scheme of pairs may read whatever there is of one position."""

    def serves(self, recipe):
        return None

    def materials(self, recipe, scheme, base, device, say):
        student, data, own = self.student(recipe, base), recipe.data, own_features(scheme)
        columns = Columns(data.text_column, data.label_column, None, data.pair_column, tuple(own))
        all_serve = torch.ones(1, len(recipe.teachers), dtype=torch.bool)

        def table(split, limit):
            found = [
                DomainExamples(d.name, "better", read_examples(getattr(d, split), base, columns, None))
                for d in data.domains
            ]
            return make_examples(found, SPACE, all_serve, limit, data.seed, own)

        tables = three(recipe, table)
        teachers = [self.teacher(t, base, device, tables.validation.inputs, say) for t in recipe.teachers]
        return Materials(teachers, tables, admit_classifier_student(student, tables.validation.inputs))

    def teacher(self, section, base, device, inputs, say):
        model = made(section.model, base)
        parts, known = identity_of(section.model, model, base)
        scores = Scores(model).eval().to(device)
        asked = Classifier(section.name, scores, HEADS, Identity(parts).digest(), known=known)
        return admit_classifier(asked, inputs, say)

    def student(self, recipe, base, rows=None, say=unsaid):
        scorer = own_student(recipe.student.model, base, recipe.train.seed)
        learner = ClassifierStudent(Scores(scorer), HEADS).train()
        return learner if rows is None else admit_classifier_student(learner, rows.inputs, say)

    def load(self, recipe, base, folder):
        from safetensors.torch import load_model

        learner = self.student(recipe, base)
        load_model(learner.inner, str(folder / "model.safetensors"))
        return learner

    def judge(self, source, rows, teachers, classes):
        return validation_losses(teacher_nll(source, rows), rows), []

    def results(self, nats, rows, teachers):
        return {"ranking.json": {"student": float(nats["student_ranked"].mean())}}


ranking = Ranking()
'''

#: Models of one text: a student that reads its letters, teachers that like long texts or many vowels.
MODELS = """
import torch


MADE = []


def letters(texts):
    found = torch.zeros(len(texts), 96)
    for row, text in enumerate(texts):
        for letter in text:
            if 32 <= ord(letter) < 128:
                found[row, ord(letter) - 32] += 0.1
    return found


class Reader(torch.nn.Module):
    def __init__(self):
        super().__init__()
        MADE.append(type(self))
        self.body, self.drop, self.head = torch.nn.Linear(96, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1)

    def forward(self, texts):
        return self.head(self.drop(torch.tanh(self.body(letters(texts))))).squeeze(-1)


class Long(torch.nn.Module):
    def forward(self, texts):
        return torch.tensor([len(text) / 20 for text in texts])


class Vowels(torch.nn.Module):
    def forward(self, texts):
        return torch.tensor([0.3 * sum(letter in "aeiou" for letter in text) for text in texts])
"""


def pairs(domain: str, number: int, seed: int) -> Iterator[str]:
    """Cut texts of which the one with more vowels is the better."""
    texts = [text[: 20 + 7 * (n % 5)] for n, text in enumerate(documents(domain, 2 * number, seed))]
    for one, two in zip(texts[::2], texts[1::2], strict=True):
        vowels = [sum(letter in "aeiou" for letter in text) for text in (one, two)]
        yield json.dumps({"text": one, "other": two, "label": "first" if vowels[0] >= vowels[1] else "second"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("ranking")
    (found / "ranking.py").write_text(RANKING, encoding="utf-8")
    (found / "models.py").write_text(MODELS, encoding="utf-8")
    for domain in DOMAINS:
        for seed, split in enumerate(("train", "validation", "test")):
            (found / f"{domain}.{split}.jsonl").write_text("\n".join(pairs(domain, 24, seed)), encoding="utf-8")
    return found


def content(**train: Any) -> dict[str, Any]:
    splits = ("train", "validation", "test")
    return {
        "name": "ranked",
        "student": {"model": "models.py:Reader"},
        "teachers": [{"name": "long", "model": "models.py:Long"}, {"name": "vowels", "model": "models.py:Vowels"}],
        "data": {
            "kind": "ranking.py:ranking",
            "pair_column": "other",
            "domains": [{"name": d, "task": "better"} | {s: f"{d}.{s}.jsonl" for s in splits} for d in DOMAINS],
        },
        "scheme": {
            "token": [{"rule": "entropy", "options": {"strength": 0.5}}],
            "task": [{"rule": "skill"}],
            "floor": 0.05,
        },
        "train": {
            "steps": 30,
            "batch_size": 8,
            "learning_rate": 2e-2,
            "warmup_steps": 2,
            "save_every": 10,
            "evaluate_every": 10,
            "log_every": 5,
            "threads": 1,
            "tracker": "none",
            **train,
        },
    }


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return parse_recipe(content())


@pytest.fixture(scope="module")
def shop(folder: Path, recipe: Recipe) -> PreparedRun:
    return prepare(recipe, folder, folder / "cache")


@pytest.fixture(scope="module")
def run(folder: Path, recipe: Recipe, shop: PreparedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs") / "whole"
    distill(recipe, shop, found)
    return found


def test_it_is_a_task_that_only_its_file_knows(folder: Path, recipe: Recipe) -> None:
    assert isinstance(task_of(recipe, folder), Task)
    assert set(TASKS) == {"text", "examples"}
    rooms = [SOURCE / room for room in ("data", "teachers", "training", "report", "cli")]
    files = [path for room in rooms for path in room.rglob("*.py")]
    assert len(files) > 50
    assert not [path for path in files if re.search(r"\branking\b", path.read_text("utf-8"), re.IGNORECASE)]


def test_no_file_beside_the_tasks_asks_which_kind_of_data_a_run_has() -> None:
    asks = re.compile(r"\bkind\s*(==|!=|in)\s*\(?[\"'](text|examples)[\"']|isinstance\([^()]*\b(Rows|Examples)\b")
    found = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if "tasks" not in path.parts
        for line in path.read_text("utf-8").splitlines()
        if asks.search(line)
    ]
    assert found == []


def test_a_student_learns_from_two_teachers_and_leaves_a_whole_record(run: Path, shop: PreparedRun) -> None:
    rows = read_trace(run / "metrics.jsonl")
    evals = [row for row in rows if row["kind"] == "eval"]
    assert [row["step"] for row in evals] == [0, 10, 20, 30]
    assert set(evals[0]) >= {"nats", "ranked", "mean"}
    assert set(evals[0]["ranked"]) == set(DOMAINS)
    assert evals[-1]["mean"] < evals[0]["mean"] - 0.05
    steps = [row for row in rows if row["kind"] == "step"]
    assert set(steps[-1]["share"]["all"]) == {"long", "vowels"}
    assert steps[-1]["loss"] < steps[0]["loss"]
    nll = json.loads((run / "nats.json").read_text(encoding="utf-8"))
    assert set(nll) == {f"{who}{what}" for who in ("student", "teachers", "mixture") for what in ("", "_ranked")}
    # The teacher that likes vowels is right; the mixture is what the weights make of both.
    assert torch.tensor(nll["teachers_ranked"]).mean(0)[1] == 1.0
    left = json.loads((run / "ranking.json").read_text(encoding="utf-8"))
    assert left == {"student": pytest.approx(sum(nll["student_ranked"]) / len(nll["student_ranked"]))}
    assert not (run / "accuracy.json").exists()


def test_the_loss_of_a_pair_is_that_of_the_two_scores(
    run: Path, folder: Path, recipe: Recipe, shop: PreparedRun
) -> None:
    """Independently: −log σ(s_better − s_worse), and a swapped pair has swapped scores."""
    student = shop.task.load(recipe, folder, run / "student").eval()
    rows = shop.tables.test
    assert rows is not None
    texts = rows.inputs.values
    scorer = student.inner.scorer
    first, second = scorer(list(texts["text"])), scorer(list(texts["text_pair"]))
    sign = 1.0 - 2.0 * rows.labels[:, 0]
    expected = -torch.nn.functional.logsigmoid(sign * (first - second)).double()
    found = torch.tensor(json.loads((run / "nats.json").read_text(encoding="utf-8"))["student"], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    swapped = student.inner(text=list(texts["text_pair"]), text_pair=list(texts["text"]))
    torch.testing.assert_close(swapped, torch.stack([second, first], -1))


def test_a_resumed_run_is_the_uninterrupted_one(folder: Path, recipe: Recipe, run: Path, tmp_path: Path) -> None:
    whole, cut = weights_of(run / "student"), resumed(recipe, folder, tmp_path / "cut", at=20)
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.deep
def test_a_run_takes_the_student_that_was_looked_at_and_the_next_makes_its_own(
    folder: Path, recipe: Recipe, run: Path, tmp_path: Path
) -> None:
    made = load_object("models.py:MADE", folder)
    made.clear()
    shop = prepare(recipe, folder, folder / "cache")
    distill(recipe, shop, tmp_path / "first")
    assert len(made) == 1
    distill(recipe, shop, tmp_path / "second")
    assert len(made) == 2
    seeded = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 1})})
    shop = prepare(recipe, folder, folder / "cache")
    distill(seeded, shop, tmp_path / "other")  # not the run that was prepared
    found = [weights_of(folder / "student") for folder in (run, tmp_path / "first", tmp_path / "second")]
    for name, values in found[0].items():
        assert torch.equal(found[1][name], values)
        assert torch.equal(found[2][name], values)
    assert not torch.equal(
        weights_of(tmp_path / "other" / "student")["scorer.body.weight"], found[0]["scorer.body.weight"]
    )


def test_its_file_belongs_to_the_identity_of_a_run(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    distill(recipe, prepare(recipe, folder, folder / "cache"), tmp_path / "run")
    path = folder / "ranking.py"
    before = path.read_text(encoding="utf-8")
    path.write_text(before + "\n# edited\n", encoding="utf-8")
    try:
        with pytest.raises(InputError, match=r"files \(ranking\.py\)"):
            prepare(recipe, folder, folder / "cache", resumed=tmp_path / "run")
    finally:
        path.write_text(before, encoding="utf-8")


@pytest.mark.deep
def test_the_command_certifies_it_and_leaves_a_report(folder: Path, tmp_path: Path) -> None:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content(steps=10)), encoding="utf-8")
    done = CliRunner().invoke(app, ["distill", str(folder / "recipe.yaml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    certificate = json.loads((tmp_path / "run" / "certificate.json").read_text(encoding="utf-8"))
    assert certificate["kind"] == "run"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "nats an example" in page
    assert "sums, ranked" in page  # what else is measured has its curves too
    assert not (tmp_path / "run" / "sample.json").exists()


def test_a_file_that_changed_since_its_recipe_was_certified_does_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a recipe's scheme asks its task, so a task's file belongs to what a certificate is about."""
    for name in ("ranking.py", "models.py"):
        shutil.copy(folder / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(yaml.safe_dump(content()), encoding="utf-8")
    asked = dict.fromkeys(("num_teachers", "names", "floor", "cap", "influence", "lipschitz", "order"))
    certificate = work.certified("recipe.yaml", {}, {**asked, "order_margin": 0.0, "pareto": False}, None, 0.1, 0)
    assert set(certificate["source"]["files"]) == {"ranking.py"}
    Path("c.json").write_text(json.dumps(certificate), encoding="utf-8")
    assert work.verified("c.json", 0.1, None)["refusals"] == []
    code = "\nfrom pathlib import Path\nPath('mark').write_text('ran')\n"
    Path("ranking.py").write_text(RANKING + code, encoding="utf-8")
    [refusal] = work.verified("c.json", 0.1, None)["refusals"]
    assert "ranking.py has changed since it was certified" in refusal
    assert not Path("mark").exists()


def test_schemes_are_fitted_on_it(recipe: Recipe, shop: PreparedRun) -> None:
    found = fit_recipe(recipe, shop, features=["entropy"], penalty=1e-2)
    assert {strength.what for strength in found.fitted.strengths} >= {"entropy"}
    assert found.headroom.bounds["token"].gain.mean > 0


def test_a_registered_name_stands_for_it(folder: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in dict(TASKS):
        monkeypatch.setitem(TASKS, name, TASKS[name])  # put back afterwards
    named = content() | {"data": content()["data"] | {"kind": "pairs"}}
    with pytest.raises(InputError, match=r"'data\.kind': must be examples, text or FILE\.py:NAME, not 'pairs'"):
        parse_recipe(named)
    task = task_of(recipe, folder)
    monkeypatch.setitem(TASKS, "pairs", task)
    register("pairs", task)  # again, by whoever imports the file twice
    assert task_of(parse_recipe(named)) is task
    with pytest.raises(InputError, match="a kind of data must have one task; received 'text'"):
        register("text", task)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ranking.py:Ranking", "must be a task; received a class. Name an object"),
        ("ranking.py:HEADS", "must be a task; received a Heads without measures, score, sizes, admit, materials"),
        ("absent.py:task", "a file that a recipe names must exist"),
    ],
)
def test_what_is_no_task_is_refused(folder: Path, kind: str, said: str) -> None:
    recipe = parse_recipe(content() | {"data": content()["data"] | {"kind": kind}})
    with pytest.raises(InputError, match=said):
        task_of(recipe, folder)


def test_a_recipe_keeps_its_kind_and_digest(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "again.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path).digest() == recipe.digest()
    assert yaml.safe_load(recipe.to_yaml())["data"]["kind"] == "ranking.py:ranking"
