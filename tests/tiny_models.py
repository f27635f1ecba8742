"""Models in memory, small enough to train in a test, for everything that takes a loop of one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

V, T = 29, 10


def llama(seed: int, vocabulary: int = V, **changes: Any) -> Any:
    """A causal model of one layer with sharp opinions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.4, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **sizes | changes))


def gpt2(seed: int, **changes: Any) -> Any:
    """A causal model with learned positions and dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "initializer_range": 0.4}
    sizes |= {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, **sizes | changes))


def bert(seed: int, classes: int = 3, **changes: Any) -> Any:
    """A classifier of sequences with dropout."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.4}
    return BertForSequenceClassification(BertConfig(vocab_size=V, num_labels=classes, **sizes | changes))


def text(seed: int = 0, rows: int = 4, **columns: Any) -> dict[str, Any]:
    """A padded batch of token ids as loaders make it, labels unshifted."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, V, (rows, T), generator=draw)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    ids = ids.masked_fill(mask == 0, 0)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100), **columns}


def inputs(batch: dict[str, Any]) -> dict[str, Tensor]:
    """What the models above read."""
    return {name: batch[name] for name in ("input_ids", "attention_mask")}
