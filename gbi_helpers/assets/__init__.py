"""Files shipped with the package; ``manifest.json`` says of each what it is, and holds its SHA-256."""
