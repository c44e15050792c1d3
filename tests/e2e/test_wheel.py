"""The wheel: what is installed from it alone, outside the repository, runs the demo."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_wheel_alone_runs_the_demo(tmp_path: Path) -> None:
    def run(*command: str | Path) -> str:
        # In a folder without the sources, without what a shell of a developer may have set.
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("cortexql-*.whl")
    run(sys.executable, "-m", "venv", "installed")
    programs = tmp_path / "installed" / "bin"
    run(programs / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
    told = run(programs / "cortexql", "demo", "--once", "--data-dir", tmp_path / "data")
    assert re.search(r"\b([1-9]\d*) of \1 jobs succeeded", told)
