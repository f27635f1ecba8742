"""What is computed once and reused: what it depends on, how it is written, and how exact it is when it comes back."""
