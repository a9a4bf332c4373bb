"""The command line: one verb a file, thin over the library."""

from __future__ import annotations

import sys
import warnings

from brainldm.errors import BrainLDMError

INTERRUPTED = 130
USER_ERROR = 2


def main() -> None:
    """Run `brainldm`; a user's mistake is a message and exit code 2, Ctrl-C is exit code 130."""
    warnings.showwarning = _say
    try:
        # Imported in here, so that Ctrl-C is quiet from the first moment.
        from brainldm.cli.app import app

        app()
    except BrainLDMError as error:
        print(f"brainldm: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("brainldm: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _say(message: Warning | str, *_where: object, **_more: object) -> None:
    """A warning for users, who do not care which line of code gave it."""
    print(f"brainldm: warning: {message}", file=sys.stderr)
