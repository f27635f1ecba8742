import torch
from small_models import code, cpp, loader, prose, student  # noqa: F401

optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
for batch in loader:
    loss = student(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(f"loss {loss.item():.3f}")
