"""The rows, one module a scale."""
