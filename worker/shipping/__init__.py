"""The models in the box: from a lab into the folder that every lab starts with."""
