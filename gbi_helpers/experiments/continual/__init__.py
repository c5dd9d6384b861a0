"""Chapter 09: what forgets, and what cannot."""
