"""Trains the byte-level Mamba that ships with efficarch."""
