"""Models of the course, by chapter: ``image`` (05 to 07)."""
