"""Measure the global model on held-out data: python validate.py <model-in> <metrics-out.json>"""

import sys

from data import load_test
from model import make_model

from fedn.model.helpers import keras as helper


def main(model_in, metrics_out):
    model = helper.load(model_in, into=make_model())
    images, labels = load_test()
    loss, accuracy = model.evaluate(images, labels, verbose=0)
    helper.save_metrics(metrics_out, {"loss": loss, "accuracy": accuracy}, num_examples=len(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
