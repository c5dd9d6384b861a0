"""Chapter 08: where a text is from."""
