"""One object for any loop: its loss and gradient against a dense loop in float64, for models in memory."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.distilled import answers, dense
from tiny_models import V, bert, gpt2, inputs, llama, text
from trivium.errors import AxiomViolation, InputError, TeacherError, TriviumError, VocabularyError
from trivium.scheme import compose
from trivium.training.distiller import Distiller
from trivium.training.recipe import LossSection
from trivium.weighting import AMTSS, DomainMap, Entropy, Gap, PrefixPosterior, Skill, Static, rule

NAMES = ("code", "prose", "cpp")
TOKEN, CONTEXT = Entropy(strength=0.5), PrefixPosterior(budget=4.0)
SCHEME = compose(NAMES, token=[TOKEN], context=[CONTEXT], floor=0.01)


def teachers(**changes: Any) -> dict[str, Any]:
    return {name: llama(seed, **changes) for seed, name in enumerate(NAMES)}


def expected_loss(student: Tensor, models: dict[str, Any], batch: dict[str, Any], temperature: float = 1.0) -> Tensor:
    """Of ``SCHEME``, by a dense loop in float64."""
    width = student.shape[-1]
    known = [z[..., :width] for z in answers(models, batch)]
    settings = {"strength": 0.5, "budget": 4.0, "floor": 0.01}
    return dense(student, known, batch["labels"], **settings, temperature=temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_loss_and_gradient_equal_a_dense_loop_in_float64(temperature: float) -> None:
    models, student, batch = teachers(), llama(9), text()
    distiller = Distiller(SCHEME, models, loss={"temperature": temperature})
    logits = student(**inputs(batch)).logits
    out = distiller(logits, batch)
    out.loss.backward()
    twin = llama(9)
    expected = expected_loss(twin(**inputs(batch)).logits, models, batch, temperature)
    expected.backward()
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for mine, theirs in zip(student.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    assert out.log_weights.shape == (4, 10, 3)
    assert not out.log_weights.requires_grad
    assert list(out.shares) == list(NAMES)
    assert sum(out.shares.values()) == pytest.approx(1.0)
    mean = out.log_weights[out.mask].exp().mean(0).tolist()
    assert list(out.shares.values()) == pytest.approx(mean, rel=1e-5)
    assert {"entropy", "prefix_log_prob"} <= set(out.features)


def test_with_one_teacher_it_is_plain_distillation() -> None:
    teacher, student, batch = llama(1), llama(9), text()
    out = Distiller(compose(["only"]), {"only": teacher}, loss={"temperature": 2.0, "distillation": 0.7, "label": 0.3})(
        student(**inputs(batch)), batch
    )
    logits = student(**inputs(batch)).logits[:, :-1]
    with torch.no_grad():
        target = teacher.eval()(**inputs(batch)).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    kept = labels >= 0
    divergence = torch.nn.functional.kl_div(
        (logits / 2)[kept].log_softmax(-1), (target / 2)[kept].softmax(-1), reduction="batchmean"
    )
    plain = torch.nn.functional.cross_entropy(logits[kept], labels[kept])
    torch.testing.assert_close(out.loss, 0.7 * 4 * divergence + 0.3 * plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out.label, plain.detach(), rtol=1e-5, atol=1e-6)
    assert out.shares == {"only": 1.0}


def test_labels_are_shifted_in_one_place_and_shifted_ones_are_taken_as_they_are() -> None:
    student, batch = llama(9), text()
    distiller = Distiller(SCHEME, teachers(), loss=LossSection(label=1.0))
    logits = student(**inputs(batch)).logits
    shifted = torch.full_like(batch["labels"], -100)
    shifted[:, :-1] = batch["labels"][:, 1:]
    whole = distiller(logits, batch)
    again = distiller(logits, {**batch, "shift_labels": shifted})
    assert torch.equal(whole.loss, again.loss)
    assert torch.equal(whole.mask, shifted >= 0)
    assert distiller.count(batch) == int((shifted >= 0).sum()) == 4 * 9 - 4
    # The label of transformers' own loss is the same one.
    theirs = student(**inputs(batch), labels=batch["labels"]).loss
    torch.testing.assert_close(whole.label, theirs.detach(), rtol=1e-5, atol=1e-6)
    unmoved = Distiller(SCHEME, teachers(), loss=LossSection(label=1.0), shift=False)(logits, batch)
    assert torch.equal(unmoved.mask, batch["labels"] >= 0)


def test_a_text_without_labels_is_its_own() -> None:
    student, batch = llama(9), text()
    distiller = Distiller(SCHEME, teachers())
    logits = student(**inputs(batch)).logits
    assert torch.equal(distiller(logits, inputs(batch)).loss, distiller(logits, batch).loss)


def test_losses_of_parts_add_up_to_that_of_the_whole_step() -> None:
    student, batch = llama(9), text()
    distiller = Distiller(SCHEME, teachers(), loss={"label": 0.5})
    whole = distiller(student(**inputs(batch)).logits, batch).loss
    count = distiller.count(batch)
    parts = []
    for row in range(4):
        part = {name: value[row : row + 1] for name, value in batch.items()}
        parts.append(distiller(student(**inputs(part)).logits, part, normalizer=count).loss)
    torch.testing.assert_close(sum(parts), whole, rtol=1e-5, atol=1e-6)


def test_teachers_answer_at_rest_whatever_the_caller_did() -> None:
    models = {name: gpt2(seed, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5) for seed, name in enumerate(NAMES)}
    student, batch = gpt2(9).eval(), text()
    distiller = Distiller(SCHEME, models)
    first = distiller(student(**inputs(batch)).logits, batch).loss
    for model in models.values():
        model.train()
        model.transformer.drop.eval()  # a mode of the caller's own, which must survive
    with torch.enable_grad():
        out = distiller(student(**inputs(batch)).logits, batch)
    assert torch.equal(out.loss, first)
    out.loss.backward()
    for model in models.values():
        assert model.training
        assert model.transformer.h.training
        assert not model.transformer.drop.training
        assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_function_around_a_module_puts_that_module_to_rest_too() -> None:
    noisy = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Dropout(0.5))
    batch = {"x": torch.randn(6, 5), "labels": torch.zeros(6, dtype=torch.long)}
    distiller = Distiller(compose(["a"]), {"a": lambda x: noisy(x)})
    student = torch.nn.Linear(5, 3)
    assert torch.equal(distiller(student(batch["x"]), batch).loss, distiller(student(batch["x"]), batch).loss)
    assert noisy.training


@pytest.mark.parametrize("told", [True, False])
def test_the_student_is_refused_as_its_own_teacher(told: bool) -> None:
    student, batch = llama(9), text()
    models = {**teachers(), "cpp": student}
    logits = student(**inputs(batch)).logits
    with pytest.raises(InputError, match=r"teacher 'cpp' must be another model than the student.*copy\.deepcopy"):
        Distiller(SCHEME, models, student=student) if told else Distiller(SCHEME, models)(logits, batch)
    frozen = {**models, "cpp": copy.deepcopy(student)}
    Distiller(SCHEME, frozen, student=student)(student(**inputs(batch)).logits, batch)


def test_a_head_that_shares_a_frozen_body_with_its_teacher_is_another_model() -> None:
    body = torch.nn.Linear(5, 4).requires_grad_(False)
    teacher, student = (torch.nn.Sequential(body, torch.nn.Linear(4, 3)) for _ in range(2))
    batch = {"x": torch.randn(6, 5), "labels": torch.zeros(6, dtype=torch.long)}
    Distiller(compose(["a"]), {"a": teacher}, student=student)(student(batch["x"]), batch).loss.backward()


def test_under_autocast_rules_and_loss_stay_in_float32() -> None:
    models, student, batch = teachers(), llama(9), text()
    logits = student(**inputs(batch)).logits
    distiller = Distiller(SCHEME, {name: lambda input_ids, m=model: m(input_ids) for name, model in models.items()})
    stored = {f"{n}_logits": m.eval()(**inputs(batch)).logits.detach() for n, m in models.items()}
    plain = Distiller(SCHEME)(logits, {**batch, **stored})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same = Distiller(SCHEME)(logits, {**batch, **stored})
        theirs = distiller(logits, batch)
    assert torch.equal(plain.loss, same.loss)
    assert torch.equal(plain.log_weights, same.log_weights)
    assert theirs.loss.dtype == torch.float32
    # Teachers are the caller's to run: their matrices are multiplied in bfloat16 there.
    assert 0 < (theirs.loss - plain.loss).abs().item() < 0.1 * plain.loss.item()


@pytest.mark.parametrize("columns", ["all", "teacher", "student"])
def test_columns_beyond_the_vocabulary_are_cut_for_everybody(columns: str) -> None:
    wide = {"all": (V + 3, V + 3), "teacher": (V + 3, V), "student": (V, V + 3)}[columns]
    models = teachers(vocabulary=wide[0])
    student, batch = llama(9, wide[1]), text()
    logits = student(**inputs(batch)).logits
    out = Distiller(SCHEME, models, vocabulary=V)(logits, batch)
    assert out.loss.item() == pytest.approx(expected_loss(logits[..., :V], models, batch).item(), rel=1e-5)
    if wide[0] != wide[1]:
        with pytest.raises(VocabularyError, match=r"Distiller\(tokenizer=\.\.\.\) or vocabulary=N"):
            Distiller(SCHEME, models)(logits, batch)


class Vocabulary:
    def __init__(self, size: int) -> None:
        self.size = size

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(self.size)}


def test_a_tokenizer_says_how_many_columns_are_real_and_more_than_there_are_is_refused() -> None:
    student, batch = llama(9), text()
    batch["input_ids"] = batch["input_ids"].clamp_max(19)
    batch["labels"] = batch["labels"].clamp_max(19)
    logits = student(**inputs(batch)).logits
    assert Distiller(SCHEME, teachers(), tokenizer=Vocabulary(20))(logits, batch).loss.isfinite()
    with pytest.raises(VocabularyError, match=r"teacher 'code' must have a logit for each of 40 tokens; received 29"):
        Distiller(SCHEME, teachers(), tokenizer=Vocabulary(40))(logits, batch)
    with pytest.raises(InputError, match=r"a label must be one of 15 tokens"):
        Distiller(SCHEME, teachers(), vocabulary=15)(logits, batch)


def test_classifiers_of_sequences_have_labels_one_a_row_and_no_shift() -> None:
    models = {name: bert(seed) for seed, name in enumerate(NAMES)}
    student, batch = bert(9), text()
    batch["labels"] = torch.tensor([0, 2, 1, 1])
    scheme = compose(NAMES, token=[Entropy()])
    out = Distiller(scheme, models, loss={"label": 0.5})(student.eval()(**inputs(batch)), batch)
    with torch.no_grad():
        p = torch.stack([models[name].eval()(**inputs(batch)).logits.softmax(-1) for name in NAMES], 1)
    w = (p * p.log()).sum(-1).softmax(-1)
    q = (w.unsqueeze(-1) * p).sum(1)
    log_s = student(**inputs(batch)).logits.log_softmax(-1)
    label = -log_s[torch.arange(4), batch["labels"]].mean()
    expected = (q * (q.log() - log_s)).sum(-1).mean() + 0.5 * label
    torch.testing.assert_close(out.loss, expected, rtol=1e-5, atol=1e-6)
    assert out.log_weights.shape == (4, 1, 3)


def test_rules_read_domains_tasks_and_columns_by_index_or_name() -> None:
    @rule(scale="context", features={"trust": (0.0, 1.0)})
    def trusting(trust: Tensor) -> Tensor:
        return torch.softmax(trust, dim=-1)

    scheme = compose(NAMES, context=[DomainMap((2, 0)), trusting])
    models, student = teachers(), llama(9)
    trust = torch.rand(4, 3)
    named, numbered = (
        text(domain=["b", "a", "b", "b"], trust=trust),
        text(domain=torch.tensor([1, 0, 1, 1]), trust=trust),
    )
    one = Distiller(scheme, models, domains=["a", "b"])(student(**inputs(named)), named)
    two = Distiller(scheme, models)(student(**inputs(numbered)), numbered)
    assert torch.equal(one.log_weights, two.log_weights)
    assert one.log_weights[0, 0].argmax() == 0
    assert one.log_weights[1, 0].argmax() == 2
    known = {"domain": torch.tensor([[1.0], [0], [1], [1]]), "teachers": torch.zeros(3)}
    expected = trust.log_softmax(-1) + DomainMap((2, 0)).log_weights(known)
    torch.testing.assert_close(one.log_weights[:, 0], expected.log_softmax(-1), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"domain of a row must be known; received 'c'"):
        Distiller(scheme, models, domains=["a", "b"])(student(**inputs(named)), {**named, "domain": ["c"] * 4})
    with pytest.raises(InputError, match=r"a batch must hold each row's domain"):
        Distiller(scheme, models)(student(**inputs(named)), text(trust=trust))
    with pytest.raises(InputError, match=r"column 'trust', which a rule reads.*Did you mean 'trusts'"):
        Distiller(scheme, models)(student(**inputs(numbered)), text(domain=numbered["domain"], trusts=trust))
    with pytest.raises(InputError, match=r"column 'trust' must be shaped \[4, 3\]"):
        Distiller(scheme, models)(student(**inputs(numbered)), {**numbered, "trust": trust[:, :2]})


def test_validation_losses_are_measured_by_task_and_needed_by_rules_that_read_them() -> None:
    scheme = compose(NAMES, task=[Skill()])
    models, student = teachers(), llama(9)
    batch = text(task=torch.tensor([0, 1, 1, 0]))
    distiller = Distiller(scheme, models)
    with pytest.raises(InputError, match=r"needs them; received none\. Call distiller\.measure"):
        distiller(student(**inputs(batch)), batch)
    measured = distiller.measure([batch, text(3, task=torch.zeros(4, dtype=torch.long))])
    other = text(3)
    for k, name in enumerate(NAMES):
        for task, parts in enumerate([[(batch, [0, 3]), (other, [0, 1, 2, 3])], [(batch, [1, 2])]]):
            nats, tokens = 0.0, 0
            for part, rows in parts:
                logits = models[name].eval()(**inputs(part)).logits[:, :-1].double().log_softmax(-1)
                for row in rows:
                    for place, label in enumerate(part["labels"][row, 1:].tolist()):
                        nats -= logits[row, place, label].item() if label >= 0 else 0.0
                        tokens += label >= 0
            assert measured[task, k].item() == pytest.approx(nats / tokens, rel=1e-5)
    out = distiller(student(**inputs(batch)), batch)
    torch.testing.assert_close(out.log_weights[0, 0].exp(), torch.softmax(-measured[0], -1), rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match=r"one of 2 measured ones; received 2"):
        distiller(student(**inputs(batch)), {**batch, "task": torch.tensor([0, 1, 2, 0])})
    with pytest.raises(InputError, match="a batch must hold each row's task, by which losses were measured"):
        distiller(student(**inputs(batch)), text())
    given = Distiller(scheme, models, validation_loss=measured)
    assert torch.equal(given(student(**inputs(batch)), batch).loss, out.loss)


def test_teachers_that_do_not_serve_a_row_have_no_weight_there() -> None:
    teacher_mask = torch.tensor([[True, False, True]] * 2 + [[True, True, True]] * 2)
    student, batch = llama(9), text(teacher_mask=teacher_mask)
    out = Distiller(SCHEME, teachers())(student(**inputs(batch)), batch)
    assert bool((out.log_weights[:2, :, 1] == -math.inf).all())
    assert bool(out.log_weights[2:].isfinite().all())
    assert out.loss.isfinite()


def test_the_mixture_is_what_the_student_is_taught() -> None:
    student, batch = llama(9), text()
    distiller = Distiller(compose(NAMES, token=[Gap(2.0)]), teachers())
    logits = student(**inputs(batch)).logits
    out, log_q = distiller(logits, batch), distiller.mixture(batch, logits)
    kept = out.mask
    divergence = (log_q.exp() * (log_q - logits.log_softmax(-1))).sum(-1)[kept].mean()
    torch.testing.assert_close(divergence, out.loss, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="a rule that reads the student needs it"):
        distiller.mixture(batch)
    assert Distiller(SCHEME, teachers()).mixture(batch).shape == logits.shape


def test_the_record_holds_what_was_trained_on_and_not_what_was_evaluated() -> None:
    student, batch = llama(9), text()
    distiller = Distiller(SCHEME, teachers())
    out = distiller(student(**inputs(batch)), batch)
    with torch.no_grad():
        distiller(student(**inputs(batch)), text(5))
    record = distiller.record()
    assert record["loss"] == pytest.approx(out.loss.item())
    assert record["share"]["all"] == pytest.approx(out.shares, rel=1e-5)
    assert set(record["axioms"]) == {"W-N", "W-P", "W-B"}
    assert record["violations"] == []
    assert distiller.record()["share"] == {}


def test_a_violation_raises_repairs_or_is_recorded() -> None:
    @rule(scale="token", features=["entropy"])
    def hard(entropy: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(entropy.argmin(-1), entropy.shape[-1]).to(entropy)

    scheme, models = compose(NAMES, token=[hard]), teachers()
    student, batch = llama(9), text()
    with pytest.raises(AxiomViolation, match="W-P"):
        Distiller(scheme, models)(student(**inputs(batch)), batch)
    recorded = Distiller(scheme, models, on_violation="record")
    recorded(student(**inputs(batch)), batch)
    assert {line["axiom"] for line in recorded.record()["violations"]} == {"W-P"}
    with pytest.raises(InputError, match=r"on_violation of Distiller must be 'raise' or .*'ignore'"):
        Distiller(scheme, models, on_violation="ignore")  # type: ignore[arg-type]


def test_an_infinite_loss_names_whose_fault_it_is() -> None:
    student, batch = llama(9), text()
    models = teachers()
    distiller = Distiller(compose(NAMES), models)
    distiller(student(**inputs(batch)), batch)
    with torch.no_grad():
        models["prose"].lm_head.weight.fill_(math.nan)
    with pytest.raises(TeacherError, match="teacher prose must give a distribution; received NaN"):
        distiller(student(**inputs(batch)), batch)
    with pytest.raises(TriviumError, match="NaN"):
        Distiller(compose(NAMES), teachers())(student(**inputs(batch)).logits * math.nan, batch)


def test_what_is_wrong_is_said_with_the_nearest_name() -> None:
    models, student, batch = teachers(), llama(9), text()
    with pytest.raises(InputError, match=r"must be one of the scheme's; received 'codes'\. Did you mean 'code'"):
        Distiller(SCHEME, {"codes": models["code"], "prose": models["prose"], "cpp": models["cpp"]})
    with pytest.raises(InputError, match=r"every teacher of the scheme must be given; received none for \['cpp'\]"):
        Distiller(SCHEME, {name: models[name] for name in NAMES[:2]})
    with pytest.raises(InputError, match=r"'cpp' must be something to ask; received int"):
        Distiller(SCHEME, {**models, "cpp": 3})
    with pytest.raises(InputError, match=r"unknown key 'loss.tempreature' \(Did you mean 'temperature'"):
        Distiller(SCHEME, models, loss={"tempreature": 2})
    with pytest.raises(InputError, match=r"labels must be whole numbers, one for each of the logits' \[4, 10\]"):
        Distiller(SCHEME, models)(student(**inputs(batch)), {**batch, "labels": batch["labels"][:, :5]})
    with pytest.raises(InputError, match=r"a label must be one of 29 tokens or classes, or -100 for none; received -1"):
        Distiller(SCHEME, models)(student(**inputs(batch)), {**batch, "labels": batch["labels"].clamp_min(-1)})
    with pytest.raises(InputError, match="scheme of Distiller must be a Scheme"):
        Distiller(AMTSS(3), models)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"validation losses must be \[tasks, 3\]"):
        Distiller(compose(NAMES, task=[Static((1.0, 1.0, 1.0))]), models, validation_loss=torch.zeros(2, 2))


def test_a_batch_that_predicts_nothing_teaches_nothing() -> None:
    models, student, batch = teachers(), llama(9), text()
    loss = {"distillation": 0.5, "label": 0.5}
    distiller, alone = Distiller(SCHEME, models, loss=loss), Distiller(SCHEME, models, loss=loss)
    logits = student(**inputs(batch)).logits
    nothing = {**batch, "labels": torch.full_like(batch["labels"], -100)}
    for out in (distiller(logits, nothing), distiller(logits, nothing, 10)):
        assert out.loss.item() == 0.0
        out.loss.backward(retain_graph=True)
    assert {float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None} == {0.0}
    distiller(logits, batch), alone(logits, batch)
    assert distiller.record()["share"] == alone.record()["share"]  # of the positions that there are


def test_the_label_of_a_float64_student_is_of_float64() -> None:
    models, batch = teachers(), text()
    logits = llama(9)(**inputs(batch)).logits.detach().double().requires_grad_()
    Distiller(SCHEME, models, loss={"distillation": 0.0, "label": 1.0})(logits, batch).loss.backward()
    own = logits.grad
    logits.grad = None
    kept = batch["labels"][:, 1:] >= 0
    torch.nn.functional.cross_entropy(logits[:, :-1][kept], batch["labels"][:, 1:][kept]).backward()
    torch.testing.assert_close(own, logits.grad, rtol=1e-12, atol=1e-15)
