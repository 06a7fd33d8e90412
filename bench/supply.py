"""`python -m bench.supply`: known vulnerabilities and the licences of what the lab is made of.

Asks pip-audit about the packages of `requirements/lab.txt`, and lists their licences as
pip-licenses finds them in this environment. Where nobody answers about a package (no network, a
mirror without that service), it says so: pip-audit alone would say that nothing is known of it.

PASS: every package was asked about, and none has a known vulnerability. SKIP where some were not.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements" / "lab.txt"


def main() -> int:
    """Prints licences, then vulnerabilities; 1 if there are any."""
    for licence, names in sorted(_licences().items()):
        print(f"{licence}: {', '.join(names)}")
    asked = _asked("pip_audit", "-r", LOCK, "--disable-pip", "--require-hashes",
                   "--progress-spinner", "off", "-f", "json")  # fmt: skip
    packages = json.loads(asked)["dependencies"] if asked else []
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    found = [one for one in packages if one.get("vulns")]
    for one in found:
        print(f"{one['name']} {one['version']}: {', '.join(v['id'] for v in one['vulns'])}")
    answered = len(packages) - len(unknown)
    verdict = "MISS" if found else "SKIP" if unknown or not packages else "PASS"
    print(
        f"{verdict} supply: {len(found)} packages with known vulnerabilities, target 0; answered "
        f"about {answered} of {len(packages)}"
    )
    return 1 if found else 0


def _licences() -> dict[str, list[str]]:
    """The names of packages by licence; those that are not installed here are missing."""
    locked = re.findall(r"^([\w.-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    listed = _asked("piplicenses", "--format", "json", "--from", "mixed", "-p", *locked)
    by_licence = defaultdict(list)
    for one in json.loads(listed or "[]"):
        by_licence[one["License"]].append(one["Name"])
    return by_licence


def _asked(*command: Any) -> str:
    """What a tool prints; nothing where it cannot ask. It ends with 1 where it has found something,
    too."""
    ran = subprocess.run(
        [sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False
    )
    if not ran.stdout:
        print(f"{command[0]}: {ran.stderr.strip().splitlines()[-1:] or 'said nothing'}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
