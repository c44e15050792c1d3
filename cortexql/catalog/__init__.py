"""Definitions of neurons: parse one, list a source. No database."""
