"""Slow re-implementations from the papers, in float64, loops and all: what the fast code is compared with."""
