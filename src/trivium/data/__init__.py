"""Text cut into rows of token ids, and labelled examples: built-in corpora, files, datasets, functions."""
