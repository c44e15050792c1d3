"""The console: pages made on the server, livened up by HTMX."""
