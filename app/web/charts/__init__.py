"""Figures as plain Plotly JSON, from results alone: pages, reports and downloads draw the same."""
