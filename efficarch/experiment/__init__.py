"""The paired experiment: two commits side by side, measured in pairs of processes."""
