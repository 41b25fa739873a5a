"""A process that holds interpreters: the server, and each daemon process. Standard library, worker and wire only."""

__all__: list[str] = []
