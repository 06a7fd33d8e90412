"""From the parameters' contract to forms, and from what was typed to parameters."""
