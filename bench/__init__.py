"""Farthing's speeds, each beside what it is measured against: `python -m bench`."""
