"""Perturbed worlds: physics, pushes, noise, delays and thrown boxes that differ from one environment to the next."""
