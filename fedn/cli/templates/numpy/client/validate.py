"""Measure the global model on held-out data: python validate.py <model-in> <metrics-out.json>"""

import sys

from data import load_test
from model import losses, predict

from fedn.model.helpers import numpy as helper


def main(model_in, metrics_out):
    images, labels = load_test()
    probabilities = predict(helper.load(model_in), images)
    metrics = {
        "loss": losses(probabilities, labels).mean(),
        "accuracy": (probabilities.argmax(axis=1) == labels).mean(),
    }
    helper.save_metrics(metrics_out, metrics, num_examples=len(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
