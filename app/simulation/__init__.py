"""Replay: running policies over recorded history, where a policy sees only the past and an explicit forecast."""
