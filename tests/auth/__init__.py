"""How callers come in, and what is kept of it."""
