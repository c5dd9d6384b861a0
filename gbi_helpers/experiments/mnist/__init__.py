"""Chapter 05: which digit it is."""
