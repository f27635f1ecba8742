"""Where the teachers' distributions come from."""
