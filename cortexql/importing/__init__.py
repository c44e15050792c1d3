"""Coming from Cortex: read what it has, plan what comes, apply it through the services."""
