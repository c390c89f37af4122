"""The reference suites: parametrized tests, each asserting a latency budget and a CosSim floor."""
