"""Rules at the task scale, one a file."""
