"""What crosses between interpreters or processes: the messages and their channel. Standard library and errors only."""

__all__: list[str] = []
