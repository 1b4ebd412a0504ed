"""lshsample: locality-sensitive hashing samplers, and wide networks trained and served through them."""

__version__ = "0.1.0"
