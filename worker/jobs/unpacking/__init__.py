"""Files that hold many images become plain arrays, in a process that can do little else."""
