"""How the lab is started, watched and stopped on one machine."""
