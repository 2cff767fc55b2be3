"""The errors that Kurabe raises on purpose, each with the exit code the command answers with."""


class KurabeError(Exception):
    """Base of every error that Kurabe raises on purpose."""

    exit_code = 1


class UserError(KurabeError):
    """What the user gave is wrong.

    The message is one sentence that names the file, field or value and the way out; the
    command prints it alone on stderr.
    """

    exit_code = 2


class RunFailed(KurabeError):
    """A run stopped by itself (a non-finite loss, say); its last good state is kept."""
