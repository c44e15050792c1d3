"""Where the files that come with the package lie: in the wheel, or in the checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Return the folder of `migrations` or `neurons`, as installed or as checked out."""
    installed = _PACKAGE / "_bundle" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
