"""A tokenizer and a causal language model that are made in milliseconds. Imports nothing of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|end|>"
_MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ã", "©")]


def tokenizer(swapped: tuple[int, int] | None = None, *, trims: bool = False, end: bool = True) -> Any:
    """Bytes, five merges (one of them a two-byte character) and an end token, which is id 0: 262 entries.

    Args:
        swapped: two ids that exchange their tokens.
        trims: leave the spaces before a token out of its offsets.
        end: whether the tokenizer knows its end token.
    """
    tokens = [END, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in _MERGES)]
    if swapped is not None:
        first, second = swapped
        tokens[first], tokens[second] = tokens[second], tokens[first]
    made = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=_MERGES))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if trims:
        made.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(tokenizer_object=made, **({"eos_token": END} if end else {}))


def model(seed: int = 0, vocabulary: int = 262, *, broken: bool = False) -> LlamaForCausalLM:
    """One layer of width 8 with sizeable logits; ``broken`` puts a NaN into its output weights."""
    torch.manual_seed(seed)
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        made.lm_head.weight.mul_(100.0)
        if broken:
            made.lm_head.weight[3, 0] = torch.nan
    return made.eval()


def saved(folder: Path, seed: int = 0, vocabulary: int = 262, *, broken: bool = False, **of_tokenizer: Any) -> Path:
    """A folder as ``save_pretrained`` leaves it, model and tokenizer."""
    model(seed, vocabulary, broken=broken).save_pretrained(folder)
    tokenizer(**of_tokenizer).save_pretrained(folder)
    return folder
