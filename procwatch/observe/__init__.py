"""observe: people look."""
