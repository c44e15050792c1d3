"""The real programs that the tests run against: each part installs, starts and removes its own."""
