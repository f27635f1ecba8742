"""Every argument of ``transformers.Trainer`` and every training argument is heeded, or refused by name.

What this catches that no other test does: an argument that is taken and does nothing (a loss function, a smoothing), or
one of a later release of transformers that nobody has looked at.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.parallelism_config import ParallelismConfig
from torch import nn
from transformers import Trainer, TrainingArguments

from tiny_models import T, V, llama
from tiny_trainer import LEARNS, SCHEME, arguments, rows, teachers, trainer
from trivium.errors import InputError
from trivium.scheme import compose
from trivium.training.distiller import Distiller
from trivium.training.trainer import DistillationTrainer
from trivium.weighting import Entropy

#: Fields of TrainingArguments by what becomes of them here. ``loss``: refused where it would change a loss that is not
#: the Trainer's. ``tried``: below. All else is about optimizer, schedule, loader, evaluation, logs, checkpoints, hub or
#: devices, which the Trainer's own code does, before or after it asks this class for a loss.
REFUSED = {"label_smoothing_factor", "label_names", "parallelism_config"}
TRIED: dict[str, dict[str, Any]] = {
    "bf16": {"bf16": True},
    "bf16_full_eval": {"bf16_full_eval": True},
    "activation_checkpointing": {"activation_checkpointing": True},
    "neftune_noise_alpha": {"neftune_noise_alpha": 5.0},
    "torch_compile": {"torch_compile": True, "torch_compile_backend": "eager"},
    "train_sampling_strategy": {"train_sampling_strategy": "group_by_length"},
    "remove_unused_columns": {"remove_unused_columns": False},
    "include_for_metrics": {"include_for_metrics": ["loss", "inputs"]},
    "include_num_input_tokens_seen": {"include_num_input_tokens_seen": "all"},
    "average_tokens_across_devices": {"average_tokens_across_devices": False},
    "label_names": {"label_names": ["labels", "task"]},
    "prediction_loss_only": {"prediction_loss_only": True},
    "batch_eval_metrics": {"batch_eval_metrics": True},
    "auto_find_batch_size": {"auto_find_batch_size": True},
    "dataloader_drop_last": {"dataloader_drop_last": True},
    "optim": {"optim": "sgd"},
    "use_cache": {"use_cache": True},
    "logging_first_step": {"logging_first_step": True},
}
FIELDS = {field.name for field in dataclasses.fields(TrainingArguments)}
#: What of transformers 5.23 was looked at and left to the Trainer.
LEFT = {
    *("output_dir", "per_device_train_batch_size", "num_train_epochs", "max_steps", "learning_rate", "weight_decay"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim_args", "adam_beta1", "adam_beta2"),
    *("adam_epsilon", "optim_target_modules", "gradient_accumulation_steps", "max_grad_norm", "fp16", "fp16_full_eval"),
    *("tf32", "gradient_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"),
    *("torch_compile_backend", "torch_compile_mode", "use_liger_kernel", "liger_kernel_config", "log_level"),
    *("torch_empty_cache_steps", "logging_strategy", "logging_steps", "full_determinism", "log_on_each_node"),
    *("logging_nan_inf_filter", "log_level_replica", "disable_tqdm", "report_to", "run_name", "project"),
    *("trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "eval_strategy", "eval_steps", "eval_delay"),
    *("per_device_eval_batch_size", "eval_on_start", "eval_do_concat_batches", "eval_use_gather_object"),
    *("eval_accumulation_steps", "save_only_model", "save_strategy", "save_steps", "save_on_each_node"),
    *("save_total_limit", "enable_jit_checkpoint", "push_to_hub", "hub_token", "hub_private_repo", "hub_model_id"),
    *("hub_strategy", "hub_always_push", "hub_revision", "load_best_model_at_end", "metric_for_best_model"),
    *("greater_is_better", "ignore_data_skip", "restore_callback_states_from_checkpoint", "seed", "data_seed"),
    *("use_cpu", "accelerator_config", "dataloader_num_workers", "dataloader_pin_memory", "fsdp", "fsdp_config"),
    *("dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_multiprocessing_context"),
    *("dataloader_in_order", "length_column_name", "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "deepspeed"),
    *("ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend", "ddp_timeout", "debug", "skip_memory_metrics"),
    *("do_train", "do_eval", "do_predict", "resume_from_checkpoint", "local_rank"),
}


def test_every_argument_of_a_trainer_is_one_of_ours() -> None:
    theirs, ours = (set(inspect.signature(kind.__init__).parameters) for kind in (Trainer, DistillationTrainer))  # type: ignore[misc]
    assert theirs <= ours


def test_every_training_argument_was_looked_at() -> None:
    """One of a later release has to be put into a table here, once it is known what becomes of it."""
    assert FIELDS - REFUSED - set(TRIED) - LEFT == set()


@pytest.mark.parametrize("name", TRIED)
def test_a_training_argument_leaves_a_run_and_its_evaluation_whole(name: str, tmp_path: Path) -> None:
    seen: list[Any] = []

    def metrics(found: Any, compute_result: bool = True) -> dict[str, float]:
        seen.append(found)
        return {"seen": 1.0}

    made = DistillationTrainer(
        model=llama(9),
        args=arguments(tmp_path, max_steps=2, logging_steps=1, **TRIED[name]),
        train_dataset=rows(8),
        eval_dataset=rows(8),
        teachers=teachers(),
        scheme=SCHEME,
        compute_metrics=metrics,
    )
    before = [parameter.detach().clone() for parameter in made.model.parameters()]
    made.train()
    assert any(not torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))
    lines = [line for line in made.state.log_history if "loss" in line]
    assert len(lines) == 2
    for line in lines:
        assert sum(line[f"share/all/{teacher}"] for teacher in "abc") == pytest.approx(1.0, abs=1e-5)
    found = made.evaluate()
    assert 0 < found["eval_loss"] < 20
    if "include_for_metrics" in TRIED[name]:
        assert seen[-1].losses is not None
        assert seen[-1].inputs is not None
    elif not TRIED[name].get("prediction_loss_only"):
        assert seen[-1].predictions.shape[-2:] == (T, V)


@pytest.mark.parametrize(
    ("own", "changes", "line"),
    [
        ({"compute_loss_func": len}, {}, "must have no compute_loss_func"),
        ({}, {"label_smoothing_factor": 0.1}, "label_smoothing_factor must be 0 in a distillation; received 0.1"),
        ({}, {"label_names": ["targets"]}, r"label_names must hold 'labels'; received \['targets'\]"),
        ({}, {"parallelism_config": ParallelismConfig(cp_size=2)}, "a text must be in one process"),
    ],
)
def test_what_would_do_nothing_is_refused_by_name(
    own: dict[str, Any], changes: dict[str, Any], line: str, tmp_path: Path
) -> None:
    args = arguments(tmp_path)
    for name, value in changes.items():
        setattr(args, name, value)
    with pytest.raises(InputError, match=line) as caught:
        DistillationTrainer(model=llama(9), args=args, teachers=teachers(), scheme=SCHEME, **own)
    assert "\n" not in str(caught.value)


def test_an_optimizer_given_by_class_is_the_one_that_steps(tmp_path: Path) -> None:
    """It was refused as unknown, and one who passed it by ``**kwargs`` of a subclass lost it."""
    made = DistillationTrainer(
        model=llama(9),
        args=arguments(tmp_path, max_steps=1),
        train_dataset=rows(4),
        teachers=teachers(),
        scheme=SCHEME,
        optimizer_cls_and_kwargs=(torch.optim.Adagrad, {"lr": 0.5}),
    )
    made.train()
    assert isinstance(made.optimizer.optimizer, torch.optim.Adagrad)
    assert made.optimizer.param_groups[0]["lr"] == 0.5


def test_preprocessed_logits_are_what_metrics_see(tmp_path: Path) -> None:
    found: list[Any] = []
    made = DistillationTrainer(
        model=llama(9),
        args=arguments(tmp_path),
        eval_dataset=rows(4),
        teachers=teachers(),
        scheme=SCHEME,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
        compute_metrics=lambda given: (found.append(given), {"right": 0.0})[1],
    )
    made.evaluate()
    assert found[0].predictions.shape == (4, T)
    assert found[0].label_ids.shape == (4, T)


def test_a_student_made_anew_learns_from_rules_that_have_not_learned(tmp_path: Path) -> None:
    """As a search over hyperparameters makes one a trial: what the rules learned of the last one went into the next."""
    made = DistillationTrainer(
        model_init=lambda: llama(9),
        args=arguments(tmp_path, max_steps=4),
        train_dataset=rows(),
        teachers=teachers(),
        scheme=LEARNS,
    )
    learned = []
    for _ in range(2):
        made.train()
        learned.append([parameter.detach().clone() for parameter in made.model.parameters()])
    for first, second in zip(*learned, strict=True):
        assert torch.equal(first, second)


class Fused(nn.Module):
    """A student that leaves its logits out where it is told to, as models with fused kernels are in an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = llama(9)

    def forward(self, input_ids: Any, attention_mask: Any = None, skip_logits: bool = False) -> Any:
        return {} if skip_logits else {"logits": self.inner(input_ids, attention_mask).logits}


def test_an_evaluation_of_fused_kernels_still_has_logits(tmp_path: Path) -> None:
    made = trainer(tmp_path, student=Fused(), eval_dataset=rows(4), prediction_loss_only=True)
    plain = made.evaluate()["eval_loss"]
    made.args.use_liger_kernel = True
    assert made.evaluate()["eval_loss"] == pytest.approx(plain)


def test_several_devices_of_one_process_count_every_position(tmp_path: Path) -> None:
    """``DataParallel`` brings the logits of all devices to one loss, and its positions were divided by the devices."""
    made = trainer(tmp_path, average_tokens_across_devices=False)
    batch = {name: torch.stack([row[name] for row in rows(4)]) for name in rows(4)[0]}
    alone = int(made._get_num_items_in_batch([batch], torch.device("cpu")))
    made.args._n_gpu = 2
    assert int(made._get_num_items_in_batch([batch, batch], torch.device("cpu"))) == 2 * alone


def test_accumulation_without_labels_logs_the_mean_and_not_the_sum(tmp_path: Path) -> None:
    """Examples that nobody labelled: each micro-batch is averaged by itself."""

    class Net(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.linear = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    def run(size: int, accumulation: int) -> float:
        made = DistillationTrainer(
            model=Net(7),
            args=arguments(
                tmp_path,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=accumulation,
                max_steps=2,
                logging_steps=1,
            ),
            train_dataset=[{"x": torch.randn(3, generator=torch.Generator().manual_seed(n))} for n in range(8)],
            teachers={name: Net(seed) for seed, name in enumerate("abc")},
            scheme=compose(list("abc"), token=[Entropy(0.5)]),
        )
        seen = []
        keep = made.take_record
        made.take_record = lambda: (seen.append(keep()), seen[-1])[1]  # type: ignore[method-assign]
        made.train()
        return float(seen[0]["loss"])

    assert run(4, 1) == pytest.approx(run(1, 4), rel=1e-4)


def test_what_no_training_can_come_of_is_one_line(tmp_path: Path) -> None:
    """A folder's name as student, a frozen student, a checkpoint that is another's or was written over."""
    with pytest.raises(InputError, match="the student must be a module; received str"):
        DistillationTrainer(model="gpt2", args=arguments(tmp_path), teachers=teachers(), scheme=SCHEME)  # type: ignore[arg-type]
    frozen = trainer(tmp_path, student=llama(9).requires_grad_(False), eval_dataset=rows(4))
    assert frozen.evaluate()["eval_loss"] > 0, "it can be evaluated"
    with pytest.raises(InputError, match="the student must have parameters that train"):
        frozen.train()
    trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1).train()
    path = tmp_path / "checkpoint-1" / "distiller.pt"
    torch.save(Distiller(compose(["a", "c", "b"])).state_dict(), path)
    with pytest.raises(InputError, match=r"a state must be of the teachers .* received \['a', 'c', 'b'\]"):
        trainer(tmp_path, max_steps=2).train(resume_from_checkpoint=str(path.parent))
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"distiller\.pt must be as it was written"):
        trainer(tmp_path, max_steps=2).train(resume_from_checkpoint=str(path.parent))
