"""The one exception for what a user can cause and can mend."""


class InputError(ValueError):
    """Bad input: a file, a setting or a codec that breaks the contract.

    The message is one line that says what was given, where, and what is allowed. The command
    line prints it without a traceback and leaves with exit status 2.
    """
