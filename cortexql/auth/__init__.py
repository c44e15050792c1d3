"""From a request's credential to a Principal."""
