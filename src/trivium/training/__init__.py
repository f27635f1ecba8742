"""Training: recipe, step, trainer, monitor. Every run leaves a trace that certificate and report read."""
