"""Serializers: how objects that pickle badly, or not at all, are stored."""
