"""A model is named tensors: schema, safetensors files with limits, digests, helpers for frameworks."""
