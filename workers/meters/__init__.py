"""Implementations of the `Meter` port."""
