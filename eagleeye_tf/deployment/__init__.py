"""Formats to ship, each checked against the Keras model it came from."""
