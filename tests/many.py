"""A study of a hundred rows, for two processes at once."""

from counting import MANY as STUDY

__all__ = ["STUDY"]
