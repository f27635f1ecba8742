"""Text: built-in corpora, files and datasets, cut into rows of token ids."""
