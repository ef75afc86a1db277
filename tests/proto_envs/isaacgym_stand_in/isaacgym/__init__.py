"""A stand-in for NVIDIA's Isaac Gym, for tests: the calls that our worker makes, over physics of a few lines."""
