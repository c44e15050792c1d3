"""Install every Debian package that the tests need, and make what takes long: `sudo make test-deps`.

Where it may not install, it says so and the tests that lack a part are listed as skipped; in CI that is a failure.
"""

import os
import sys

from tests.parts.debian import PACKAGES, MissingPart, install
from tests.parts.docker_images import get_base_archive
from tests.parts.oidc_provider import get_package

if __name__ == "__main__":
    try:
        install(*PACKAGES)
        get_base_archive()
        get_package()
    except MissingPart as missing:
        print(f"some tests will not run: {missing}", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
