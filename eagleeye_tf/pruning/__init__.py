"""What a network is made of and how to cut it."""
