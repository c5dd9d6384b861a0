"""Models of the course, by chapter: ``toy`` (02 to 04) and ``image`` (05 to 07)."""
