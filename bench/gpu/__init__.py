"""What a GPU does with the lab: see `python -m bench.gpu --help`."""

from collections.abc import Callable
from typing import Any

Tell = Callable[[str, dict[str, Any]], None]
"""The name of a finding and its values, plain JSON; `text` is for people, `failed` says that it is
no good."""
RunPart = Callable[[Tell, float], None]
"""Does a part, and is told in how many seconds it should be done."""
