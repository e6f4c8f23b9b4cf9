"""delivery: files leave; knows nothing of Pillow."""
