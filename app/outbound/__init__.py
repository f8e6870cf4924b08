"""Calling addresses that users name."""
