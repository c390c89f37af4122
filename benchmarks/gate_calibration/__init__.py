"""How often the gate is wrong, and what it costs, on recorded processes."""
