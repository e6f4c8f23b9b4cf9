"""The files of systemd/ as this installation carries them."""

import importlib.resources
import os


def shipped(name: str) -> str:
    """Return a file of systemd/: inside an installed package, or from the checkout that we run in."""
    packaged = importlib.resources.files("procwatch.cli").joinpath("data", "systemd", name)
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(os.path.join(checkout, "systemd", name), encoding="utf-8") as file:
        return file.read()
