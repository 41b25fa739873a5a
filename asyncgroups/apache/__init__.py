"""Apache's configuration, read and told in our own words.

Law: text and files in, a mapping of the shape of ``asyncgroups.toml`` out; ``config`` checks it like any other.
Imports the standard library and ``errors``.
"""

__all__: list[str] = []
