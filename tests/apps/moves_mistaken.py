"""Goes on without what refuses, and has no application."""

try:
    import readline
except ImportError:
    readline = None
