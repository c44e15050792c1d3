"""The tests: what they share is in `parts`, what they test has its own name."""
