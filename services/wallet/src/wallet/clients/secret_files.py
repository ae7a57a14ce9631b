"""Sellers' secrets, by reference: files that the operator has put into a folder for each seller."""

from pathlib import Path
from uuid import UUID

from wallet.clients.providers import UnusableError


class SecretFiles:
    """Reads secret `name` of a seller from `<folder>/<seller's id>/<name>`, anew each time, so that it can be changed.

    Names have been checked before: letters, digits and dashes, with which no path can be built.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, seller_id: UUID, name: str) -> str:
        """The secret. UnusableError where there is none; what it says names neither file nor content."""
        if self._folder is None or not name:
            raise UnusableError("a secret of the seller's payment account is not set up")
        try:
            secret = (self._folder / str(seller_id) / name).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            secret = ""
        if not secret:
            raise UnusableError("a secret of the seller's payment account cannot be read")
        return secret
