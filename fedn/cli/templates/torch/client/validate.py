"""Measure the global model on held-out data: python validate.py <model-in> <metrics-out.json>"""

import sys

import torch
from data import load_test
from model import make_model
from torch.nn.functional import cross_entropy

from fedn.model.helpers import torch as helper


@torch.inference_mode()
def main(model_in, metrics_out):
    model = helper.load(model_in, into=make_model()).eval()
    images, labels = (torch.from_numpy(array) for array in load_test())
    scores = model(images)
    metrics = {
        "loss": cross_entropy(scores, labels).item(),
        "accuracy": (scores.argmax(dim=1) == labels).double().mean().item(),
    }
    helper.save_metrics(metrics_out, metrics, num_examples=len(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
