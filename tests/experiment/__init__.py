"""Tests of the paired experiment, most of them with real processes in scratch repositories."""
