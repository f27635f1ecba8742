"""Train the tokenizer and the three specialist teachers that the demo ships (``make teachers``).

Everything is seeded, the text comes from ``trivium.data.corpora`` (train split to learn, validation split
to choose the checkpoint), cut into rows as a run cuts it: documents end in the end token, which is learned too. The
log that led to the shipped weights is committed beside each of them; ``end`` is the mean probability that a teacher
gives the end token where a validation document ends.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trivium.data.corpora import DOMAINS, documents
from trivium.data.rows import DomainTexts, Rows, make_rows
from trivium.data.sources import read_texts
from trivium.jsontext import json_text

ASSETS = Path(__file__).resolve().parent.parent / "src/trivium/assets/first_light"
VOCABULARY, WINDOW, BATCH, SEED = 1024, 256, 8, 20260117
# There is little prose: past some 350 steps its teacher learns its 49 topics by heart.
STEPS = {"python": 1500, "prose": 350, "cpp": 1500}
END = "<|end|>"


def train_tokenizer(characters_per_domain: int = 250_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE on equal parts of the three train splits."""
    sample = [_prefix("".join(d.text for d in documents(name, "train")), characters_per_domain) for name in DOMAINS]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        sample,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=END, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def _prefix(text: str, length: int) -> str:
    return text[:length]


def rows_of(tokenizer: PreTrainedTokenizerFast, domain: str, split: str, limit: int | None) -> Rows:
    """Rows of ``WINDOW`` positions of one domain."""
    texts = read_texts(f"trivium:{domain}/{split}", Path())
    return make_rows([DomainTexts(domain, domain, texts)], tokenizer, WINDOW, limit, SEED)


def loss_of(model: LlamaForCausalLM, rows: Rows, index: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    logits = model(input_ids=rows.input_ids[index]).logits.flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, rows.labels[index].flatten(), reduction=reduction)


@torch.no_grad()
def validation_loss(model: LlamaForCausalLM, rows: Rows) -> tuple[float, float]:
    """Mean nats a token, and the mean probability of the end token where documents end."""
    model.eval()
    nll = torch.cat([loss_of(model, rows, index, "none") for index in torch.arange(len(rows)).split(16)])
    model.train()
    labels = rows.labels.flatten()
    return float(nll[labels >= 0].mean()), float((-nll[labels == 0]).exp().mean())


def train_teacher(tokenizer: PreTrainedTokenizerFast, domain: str, steps: int) -> None:
    """AdamW, cosine schedule with warm-up; the checkpoint with the least validation loss is kept."""
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    train = rows_of(tokenizer, domain, "train", None)
    validation = rows_of(tokenizer, domain, "validation", 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    order = random.Random(SEED)
    log: list[dict] = [{"domain": domain, "steps": steps, "batch": BATCH, "window": WINDOW, "seed": SEED}]
    best, best_state, start = math.inf, {}, time.monotonic()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * rate
        loss = loss_of(model, train, torch.tensor(order.sample(range(len(train)), BATCH)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 99 or step == steps - 1:
            measured, end = validation_loss(model, validation)
            if measured < best:
                best, best_state = measured, {k: v.clone() for k, v in model.state_dict().items()}
            row = {"domain": domain, "step": step + 1, "train": round(loss.item(), 4), "validation": round(measured, 4)}
            row["end"] = round(end, 4)
            log.append(row)
            print(json_text(row), f"{time.monotonic() - start:.0f}s", flush=True)
    model.load_state_dict(best_state)
    model.half().save_pretrained(ASSETS / "teachers" / domain)
    log.append({"domain": domain, "kept": round(best, 4), "rows": len(train), "parameters": model.num_parameters()})
    tokenizer.save_pretrained(ASSETS / "teachers" / domain)
    (ASSETS / "teachers" / domain / "training.jsonl").write_text(
        "".join(json_text(row) + "\n" for row in log), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer = train_tokenizer()
    for domain in arguments.domains:
        train_teacher(tokenizer, domain, STEPS[domain])
    tokenizer.save_pretrained(ASSETS / "tokenizer")


if __name__ == "__main__":
    main()
