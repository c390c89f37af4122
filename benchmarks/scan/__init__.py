"""Times the scan backends against each other, peers and the machine."""
