"""Measure the global model on held-out data: python validate.py <model-in> <metrics-out.json>"""

import sys

from data import load_test
from model import CLASSES, load_model
from sklearn.metrics import accuracy_score, log_loss

from fedn.model.helpers import sklearn as helper


def main(model_in, metrics_out):
    images, labels = load_test()
    probabilities = load_model(model_in).predict_proba(images)
    metrics = {
        "loss": log_loss(labels, probabilities, labels=CLASSES),
        "accuracy": accuracy_score(labels, probabilities.argmax(axis=1)),
    }
    helper.save_metrics(metrics_out, metrics, num_examples=len(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
