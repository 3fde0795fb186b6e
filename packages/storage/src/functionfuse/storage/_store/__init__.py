"""Stores: names, records and rules, over whichever transport moves the bytes."""
