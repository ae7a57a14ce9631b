"""The one error of this package; its text is written for the person who typed the command."""


class StackError(Exception):
    """Something cannot be had or does not start. The text says what, with which value, and what to do."""
