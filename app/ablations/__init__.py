"""Ablations: the one kind of job with children, and the rules that its row follows them by."""
