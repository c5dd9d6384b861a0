"""`pytest --nbval notebooks` compares as the course's own tests do: without the bytes of pictures and last digits."""

from pathlib import Path


def pytest_configure(config):
    """Name the sanitizer where nbval is installed and nobody has named another."""
    if getattr(config.option, "nbval_sanitize_with", "") is None:
        config.option.nbval_sanitize_with = str(Path(__file__).parents[1] / "tests" / "notebooks" / "sanitize.cfg")
