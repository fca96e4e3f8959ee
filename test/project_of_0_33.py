"""A project as it was written for FEDn 0.33, but for the line that imports the helper."""

from __future__ import annotations

from pathlib import Path

# the layout of a project's client folder: fedn.yaml among the scripts, helpers by name, lists of arrays
PROJECT = {
    "fedn.yaml": """
python_env: python_env.yaml
entry_points:
  build:
    command: python model.py
  startup:
    command: python data.py
  train:
    command: python train.py
  validate:
    command: python validate.py
""",
    "python_env.yaml": "name: line\nbuild_dependencies:\n  - pip\ndependencies:\n  - numpy\n",
    "data.py": """
import numpy as np

def load_data():
    x = np.linspace(0, 1, 24, dtype=np.float32).reshape(12, 2)
    return x, x @ np.float32([2, -1]) + 3
""",
    "model.py": """
import numpy as np
from IMPORT import get_helper

HELPER_MODULE = "numpyhelper"
helper = get_helper(HELPER_MODULE)

def compile_model():
    return [np.zeros(2, np.float32), np.zeros((), np.float32), np.int64(0)]

def save_parameters(model, out_path):
    helper.save(model, out_path)

def load_parameters(model_path):
    return helper.load(model_path)

def init_seed(out_path="seed.npz"):
    save_parameters(compile_model(), out_path)

if __name__ == "__main__":
    init_seed("../seed.npz")
""",
    "train.py": """
import sys
from data import load_data
from model import load_parameters, save_parameters
from IMPORT import save_metadata

def train(in_model_path, out_model_path, data_path=None, lr=0.1, epochs=200):
    x, y = load_data()
    w, b, steps = load_parameters(in_model_path)
    for _ in range(epochs):
        error = x @ w + b - y
        w, b, steps = w - lr * (error @ x) / len(y), b - lr * error.mean(), steps + 1
    metadata = {"num_examples": len(x), "batch_size": len(x), "epochs": epochs, "lr": lr, "optimizer": "gd"}
    save_metadata(metadata, out_model_path)
    save_parameters([w, b, steps], out_model_path)

if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
""",
    "validate.py": """
import sys
from data import load_data
from model import load_parameters
from IMPORT import save_metrics

def validate(in_model_path, out_json_path, data_path=None):
    x, y = load_data()
    w, b, _ = load_parameters(in_model_path)
    report = {"training_loss": ((x @ w + b - y) ** 2).mean(), "test_loss": 0.5}
    save_metrics(report, out_json_path)

if __name__ == "__main__":
    validate(sys.argv[1], sys.argv[2])
""",
}


def write_project(folder: Path) -> Path:
    """Write the project's files; returns its client folder, which is the project."""
    client = folder / "line" / "client"
    client.mkdir(parents=True)
    for name, text in PROJECT.items():
        (client / name).write_text(text.replace("IMPORT", "fedn.model.helpers.v0").lstrip())
    return client
