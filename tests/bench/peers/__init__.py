"""procwatch against what a user could put in its place."""
