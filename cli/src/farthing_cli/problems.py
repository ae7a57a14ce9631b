"""What stops a command, in words for people."""


class Problem(Exception):  # noqa: N818 - what the user has, not what the code has
    """Ends the command with `message` on stderr and `exit_code`: 1 where it did not work, 2 for wrong use."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
