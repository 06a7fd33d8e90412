"""`python -m app.client`: the lab from a shell."""

from __future__ import annotations

import sys

from app.client.command_line import main

if __name__ == "__main__":
    sys.exit(main())
