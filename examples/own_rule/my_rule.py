import torch

import trivium as tv


@tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
def by_entropy(entropy):
    return torch.softmax(-0.3 * entropy, dim=-1)
