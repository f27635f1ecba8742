"""What the two loops beside this file train: a student and three teachers in memory, and batches of a loader."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY = 64


def model(seed):
    """A causal language model of one layer, with dropout."""
    torch.manual_seed(seed)
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, initializer_range=0.3, **sizes))


student, code, prose, cpp = (model(seed) for seed in range(4))


def rows(count, length=24):
    """Token ids as a tokenizer returns them, the last third of the rows padded."""
    draw = torch.Generator().manual_seed(0)
    for number in range(count):
        ids = torch.randint(1, VOCABULARY, (length,), generator=draw)
        real = torch.arange(length) < (length if number % 3 else length - 8)
        yield {"input_ids": ids * real, "attention_mask": real.long(), "labels": torch.where(real, ids, -100)}


data = list(rows(48))
loader = torch.utils.data.DataLoader(data, batch_size=8)
