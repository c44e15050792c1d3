"""Install every Debian package that the tests need, and make what takes long: `sudo make test-deps`."""

from tests.parts.debian import PACKAGES, install
from tests.parts.docker_images import get_base_archive

if __name__ == "__main__":
    install(*PACKAGES)
    get_base_archive()
