"""imaging: pixels."""
