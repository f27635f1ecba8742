"""Training: recipe, step, trainer, monitor; every run leaves its trace in a folder, which ``report`` and ``certify`` read."""
