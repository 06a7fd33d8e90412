"""Processes that train one model together, each on its part of every batch.

All of them hold the same weights and take the same steps: those of one process with the whole
batch, up to the order of sums. Random numbers are drawn for the whole batch, from generators that
all have in common, and each process takes its images' share of them.
"""

from worker.team.share import ALL, Share
from worker.team.team import ALONE, Team

__all__ = ["ALL", "ALONE", "Share", "Team"]
