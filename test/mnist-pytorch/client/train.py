"""Train the global model on this client's images: python train.py <model-in> <model-out>"""

import os
import sys

import torch
from data import load_train
from model import new_model
from settings import load_settings
from torch.nn.functional import cross_entropy

from fedn.model.helpers import torch as helper


def main(model_in, model_out):
    torch.set_num_threads(1)  # other clients may share this machine, and it makes runs repeatable
    torch.manual_seed(int(os.environ.get("FEDN_SEED", 0)))
    settings = load_settings()
    images, labels = load_train(settings)
    model = helper.load(model_in, into=new_model())
    parameters = list(model.parameters())
    for _ in range(settings["epochs"]):
        total = 0.0
        for batch in torch.randperm(len(labels)).split(settings["batch_size"]):
            loss = cross_entropy(model(images[batch]), labels[batch])
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():  # plain SGD; torch.optim works too, and takes a second more to import
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter -= settings["learning_rate"] * gradient
            total += loss.item() * len(batch)
    metrics = {"training_loss": total / len(labels)}
    helper.save(model_out, model, num_examples=len(labels), metrics=metrics)


if __name__ == "__main__":
    main(*sys.argv[1:])
