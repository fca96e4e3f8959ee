"""Train the global model on this client's data: python train.py <model-in> <model-out>"""

import os
import sys

import torch
from data import load_train
from model import make_model
from settings import load_settings
from torch.nn.functional import cross_entropy

from fedn.model.helpers import torch as helper


def main(model_in, model_out):
    settings = load_settings()
    model = helper.load(model_in, into=make_model())
    images, labels = (torch.from_numpy(array) for array in load_train())
    torch.manual_seed(int(os.environ.get("FEDN_SEED", 0)))
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["learning_rate"])
    for _ in range(settings["epochs"]):
        total = 0.0
        for batch in torch.randperm(len(labels)).split(settings["batch_size"]):
            loss = cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
    helper.save(model_out, model, num_examples=len(labels), metrics={"training_loss": total / len(labels)})


if __name__ == "__main__":
    main(*sys.argv[1:])
