"""manifold-ocr: fine-tune, measure and compress OCR on your own documents, reproducibly."""

__version__ = "0.1.0"
