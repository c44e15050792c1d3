"""The Cortex shim and file downloads: routes, parse, serialise."""
