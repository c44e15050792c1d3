# SPDX-License-Identifier: AGPL-3.0-or-later
"""Make the harness importable from every neuron's tests, whatever pytest's import mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
