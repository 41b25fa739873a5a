"""What runs inside an application's interpreter, beside the application. Standard library, wire and errors only."""

__all__: list[str] = []
