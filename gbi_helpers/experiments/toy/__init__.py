"""Chapters 02 to 04: a stream that switches between Gaussians."""
