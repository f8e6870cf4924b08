"""Implementations of the `Judge` port."""
