"""Runs that are too long for a suite; each folder says in its README what it found."""
