"""settings: what was asked."""
