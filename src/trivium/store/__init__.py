"""Store results that are computed once and reused: what each depends on, how it is written, and how exact it is when
it comes back."""
