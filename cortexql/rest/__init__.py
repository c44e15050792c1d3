"""The Cortex shim: `/api`, `/modules` and `/query`, as TheHive, cortex4py and MISP know them."""
