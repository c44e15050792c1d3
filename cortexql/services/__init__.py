"""Use cases, a module a noun. Each takes an open transaction first and asks its principal for a permission."""
