"""pool: worker processes behind one port; knows nothing of images."""
