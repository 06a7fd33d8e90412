"""Raw runs on a few images, for checks that the run over all images cannot make."""
