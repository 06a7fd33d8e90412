"""From figures to a verdict: checks with thresholds and sentences. Numbers only, no torch."""
