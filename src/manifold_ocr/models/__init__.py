"""Model families and what they share."""

import logging

# bitsandbytes says at import which of its optional CPU kernels is absent. Quantized models run
# on GPUs only (training.combinations), and any import of transformers' Trainer imports it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
