"""Rules at the context scale, one a file."""
