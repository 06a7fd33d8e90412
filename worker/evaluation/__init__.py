"""Measuring how robust models are, and the evidence that the figures can be trusted."""
