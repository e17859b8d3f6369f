"""The error that says what a user wrote wrong."""


class ConfigError(ValueError):
    """A config or a call names something that cannot be used.

    The message is one line: the argument, its value, and what is accepted.
    """
