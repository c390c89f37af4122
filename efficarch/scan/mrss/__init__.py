"""The multi-resolution selective scan: updates of the state are deferred where little is lost."""
