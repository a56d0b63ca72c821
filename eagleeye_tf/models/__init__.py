"""Networks: our own at CIFAR size, `keras.applications`, or a user's file."""
