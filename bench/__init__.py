"""One folder a question: README, program, and the result it was last answered with."""
