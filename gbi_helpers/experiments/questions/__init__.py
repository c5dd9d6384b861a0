"""What the paper left open, answered by measurement: chapter 11."""
