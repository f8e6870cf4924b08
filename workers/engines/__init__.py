"""Implementations of the `Engine` port. Importing this package loads no vLLM: its processes import `lifeline` early."""
