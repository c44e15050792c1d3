"""Answers of GraphQL's shape to what never became a GraphQL request."""

from starlette.responses import JSONResponse, Response


def to_error(status: int, message: str, code: str = "INVALID_INPUT") -> Response:
    """Return an error in GraphQL's shape."""
    error = {"message": message, "extensions": {"code": code}}
    return JSONResponse({"data": None, "errors": [error]}, status_code=status)
