"""Trainings and evaluations mirrored to where people track experiments."""
