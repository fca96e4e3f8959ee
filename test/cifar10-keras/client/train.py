"""Train the global model on this client's images: python train.py <model-in> <model-out>"""

import os
import sys

import numpy as np
from data import load_train, varied
from model import compiled, forget_momentum
from settings import load_settings

from fedn.model.helpers import keras as helper


def main(model_in, model_out):
    settings = load_settings()
    images, labels = load_train(settings)
    model = helper.load(model_in, into=compiled())
    forget_momentum(model.optimizer, settings["learning_rate"])
    rng = np.random.default_rng(int(os.environ.get("FEDN_SEED", 0)))
    for _ in range(settings["epochs"]):
        order = rng.permutation(len(labels))
        history = model.fit(varied(images[order], rng), labels[order], settings["batch_size"], shuffle=False, verbose=0)
    metrics = {"training_loss": history.history["loss"][-1]}
    helper.save(model_out, model, num_examples=len(labels), metrics=metrics)


if __name__ == "__main__":
    main(*sys.argv[1:])
