"""What needs torch: the method, attacks, models, data, and the jobs that use them."""

import os

# OpenMP reads this once, when torch is loaded. Its threads wait for each other asleep then: by
# default they wait busily, and with more threads than free cores mostly for one that cannot run.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# onnxruntime would tell its makers what it runs, and keep a number for the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
