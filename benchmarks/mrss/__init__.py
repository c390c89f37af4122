"""What the multi-resolution selective scan saves and what it costs; docs/mrss.md quotes these."""
