"""Rules at the token scale, one a file."""
