"""GraphQL root fields, a module a noun: parse, open a transaction, one call, convert."""
