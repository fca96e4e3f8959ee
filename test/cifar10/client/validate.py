"""Measure the global model on test images: python validate.py <model-in> <metrics-out.json>"""

import sys

import torch
from data import load_test
from model import new_model
from torch.nn.functional import cross_entropy

from fedn.model.helpers import torch as helper


def main(model_in, metrics_out):
    torch.set_num_threads(1)
    images, labels = load_test()
    model = helper.load(model_in, into=new_model())
    with torch.no_grad():
        scores = model(images)
    metrics = {
        "loss": cross_entropy(scores, labels).item(),
        "accuracy": (scores.argmax(dim=1) == labels).float().mean().item(),
    }
    helper.save_metrics(metrics_out, metrics, num_examples=len(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
