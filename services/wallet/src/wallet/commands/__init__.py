"""One function a change, one transaction a function."""
