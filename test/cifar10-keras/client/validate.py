"""Measure the global model on test images: python validate.py <model-in> <metrics-out.json>"""

import sys

from data import load_test
from model import compiled

from fedn.model.helpers import keras as helper


def main(model_in, metrics_out):
    images, labels = load_test()
    model = helper.load(model_in, into=compiled())
    loss, accuracy = model.evaluate(images, labels, batch_size=500, verbose=0)
    helper.save_metrics(metrics_out, {"loss": loss, "accuracy": accuracy}, num_examples=len(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
