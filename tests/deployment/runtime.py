"""runc, asked for no capability that this machine lacks: a privileged container then starts on a machine with fewer.

Docker starts it as runc: `… create --bundle FOLDER …`, where the folder's config.json says how the container is, and
`… exec --process FILE …`, where the file says how a further process in it is.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
# By their numbers, from linux/capability.h.
_RESTRICTED = {24: "CAP_SYS_RESOURCE", 16: "CAP_SYS_MODULE", 25: "CAP_SYS_TIME", 17: "CAP_SYS_RAWIO"}


def install(folder: Path) -> tuple[str, ...]:
    """Make the program in a folder, and return dockerd's options for it."""
    program = folder / "runtime"
    program.write_text(f"#!{sys.executable}\n" + Path(__file__).read_text())
    program.chmod(0o755)
    return f"--add-runtime=able={program}", "--default-runtime=able"


def main(arguments: list[str]) -> None:
    if "--bundle" in arguments:
        path = Path(arguments[arguments.index("--bundle") + 1]) / "config.json"
        config = json.loads(path.read_text())
        _restrict(config.get("process") or {})
        path.write_text(json.dumps(config))
    if "--process" in arguments:
        path = Path(arguments[arguments.index("--process") + 1])
        process = json.loads(path.read_text())
        _restrict(process)
        path.write_text(json.dumps(process))
    os.execvp("runc", ["runc", *arguments])


def _restrict(process: dict[str, Any]) -> None:
    lacking = _lacking()
    sets = process.get("capabilities") or {}
    for name, given in sets.items():
        sets[name] = [capability for capability in given if capability not in lacking]


def _lacking() -> set[str]:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("CapBnd"))
    bounding = int(line.split()[1], 16)
    return {name for number, name in _RESTRICTED.items() if not bounding >> number & 1}


if __name__ == "__main__":
    main(sys.argv[1:])
