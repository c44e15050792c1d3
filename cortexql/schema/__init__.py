"""GraphQL types, inputs, enums, scalars, loaders and the request's context."""
