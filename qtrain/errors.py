"""The mistakes a user can make and mend; the command line shows them as one line with exit status 2."""


class UserError(ValueError):
    """What was given, what is allowed and what to do, in one line."""
