"""What runs where the event loop runs: finds a request its pool, and carries one exchange. May import anyio."""

__all__: list[str] = []
