"""`python -m app`: the whole lab on one machine."""

from __future__ import annotations

import argparse
import sys

from app.run import checks
from app.run.supervisor import Supervisor


def main() -> int:
    """Check, start, watch, stop. Returns the exit code: 0 after a stop, 1 when it cannot run, 2
    where it was given arguments, of which there are none."""
    argparse.ArgumentParser(
        prog="python -m app",
        description="Start the whole lab on this machine.",
        epilog="Its settings are environment variables, such as LAB_PORT and LAB_DATA_DIR "
        "(docs/running.md).",
    ).parse_args()
    try:
        settings = checks.read_settings()
        checks.prepare_folder(settings.data_dir)
        lock_fd = checks.lock(settings.data_dir)
        checks.check_port(settings.port)
        if settings.redis_url is not None:
            checks.check_redis(settings.redis_url)
        return Supervisor(settings, lock_fd).run()
    except checks.CannotStart as error:
        print(f"AGKD-BML Lab cannot start: {error}.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
