"""Subject against reference, with all figures that need no clock; one file per kind of subject."""
