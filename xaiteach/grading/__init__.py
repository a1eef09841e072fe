"""Grading a folder of submissions with nbval: nothing a student wrote runs in our process, and no verdict in theirs.

From the bottom up: limits and sandbox (a kernel that sees a view of the machine), nbval_adapter (one notebook through
nbval, in a process of its own), runner (starts that process, holds the clock, tidies up).
"""
