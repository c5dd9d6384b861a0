"""Chapter 06: whether it is a digit at all."""
