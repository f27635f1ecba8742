"""What every test stands on: one thread, one seed, no network, and hypothesis profiles that repeat themselves."""

from __future__ import annotations

import os
import random

# Before anything imports them: these libraries read the environment once, at import.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import HealthCheck, register_random, settings

SEED = 20260117

# No deadline: two workers share two cores, and the first call of a torch operator pays for loading it.
# Derandomized, so a failure repeats on the next run and on another machine; `search` draws fresh seeds.
settings.register_profile(
    "dev", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile("ci", settings.get_profile("dev"), print_blob=True)
settings.register_profile(
    "search",
    settings.get_profile("dev"),
    derandomize=False,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "2000")),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


class _TorchRandom:
    """Hypothesis seeds ``random`` and NumPy for each example; this adds PyTorch, so that a failing example replays."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


_TORCH_RANDOM = _TorchRandom()  # hypothesis keeps a weak reference
register_random(_TORCH_RANDOM)


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test starts from the same random state, whichever tests ran before it and in whichever worker."""
    random.seed(SEED)
    torch.manual_seed(SEED)
