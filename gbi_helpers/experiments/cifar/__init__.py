"""Chapter 07: a hundred classes."""
