"""`python -m app`: the whole lab on one machine."""

from __future__ import annotations

import argparse
import sys

from app.run import backup, checks, leftovers, sharing, users
from app.run.lines import say
from app.run.supervisor import Supervisor
from app.settings import Settings


def main() -> int:
    """Check, start, watch, stop. Returns the exit code: 0 after a stop, 1 when it cannot run."""
    if sys.argv[1:2] and sys.argv[1] in backup.COMMANDS:
        return backup.main(sys.argv[1:])
    try:
        if sys.argv[1:2] == ["share"]:
            return sharing.main()
        if sys.argv[1:2] == ["users"]:
            asked = users.parser().parse_args(sys.argv[2:])
            return users.run(checks.read_settings(), asked)
        _parser().parse_args()
        checks.check_worker()
        settings = checks.read_settings()
        checks.prepare_folder(settings.data_dir)
        checks.prepare_log(settings)
        lock_fd = checks.lock(settings.data_dir)
        if left := leftovers.end(settings.data_dir):
            say(f"ended what a killed lab had left here: {', '.join(left)}")
        checks.check_port(settings.host, settings.port)
        checks.check_redis(settings)
        if settings.shares_database:
            checks.check_database(settings.sql_url)
        checks.check_storage(settings)
        return Supervisor(settings, lock_fd).run()
    except checks.CannotStart as error:
        print(f"AGKD-BML Lab cannot start: {error}.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    described = {f"LAB_{n.upper()}": f.description or "" for n, f in Settings.model_fields.items()}
    widest = max(map(len, described))
    variables = "\n".join(
        f"  {name:<{widest}}  {' '.join(text.split())}" for name, text in described.items()
    )
    return argparse.ArgumentParser(
        usage="%(prog)s [-h] | backup FILE | restore FILE | share | users ...",
        description="Start the lab; Ctrl-C ends it. `backup` writes a lab to a file, also while it "
        "runs, and `restore` makes one of it. `share` copies its files into LAB_STORAGE_URL. "
        "`users --help` tells about accounts.",
        epilog=f"variables of the environment:\n{variables}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


if __name__ == "__main__":
    sys.exit(main())
