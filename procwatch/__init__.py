"""A directory-watching daemon that runs every dropped image through a recipe in a pool of processes."""

__version__ = "0.1.0"
