"""The one exception for what a user can cause and can mend."""


class InputError(ValueError):
    """Bad input: a file, a setting or a codec that breaks the contract.

    The message is one line that says what was given, where, and what is allowed. The command
    line prints it without a traceback and leaves with exit status 2.
    """


class PointsFailedError(RuntimeError):
    """Points of a sweep that ended in an error which is not the user's input.

    One line that names the first of them; the command line leaves with exit status 1.
    """


def one_line(error: Exception) -> str:
    """What another library's error says, without its line breaks."""
    return " ".join(str(error).split())
