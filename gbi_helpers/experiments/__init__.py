"""The experiments behind the course's tables: ``gbi reproduce`` runs them, the notebooks read what they left."""
