"""CortexQL: observable analysis and active response over GraphQL."""

__version__ = "0.1.0"
