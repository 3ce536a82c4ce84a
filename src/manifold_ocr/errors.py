"""The one error type whose message is written for the person at the keyboard."""


class UserError(Exception):
    """Bad input or a state that the user can mend.

    The message names the file, the row where there is one, and the remedy. The command
    line prints it as one line without a traceback and exits with status 2.
    """
