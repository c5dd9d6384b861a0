"""CIFAR-100 as far as one gradient step goes: more label-free features, and the eyes of a network trained by others."""
