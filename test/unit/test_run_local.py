"""`fedn run local`: a project as a network would run it, and what it says when it would not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fedn.cli.main import cli
from fedn.errors import BadInput, ConfigInvalid, FednError

FEDN_YAML = """\
init_model: python init_model.py
entry_points:
  startup: python startup.py
  train: python train.py
  validate: python validate.py
  predict: python predict.py
"""
INIT = """\
import sys
import numpy as np
from fedn.model.helpers import numpy as helper
helper.save(sys.argv[1], {"fc1.weight": np.zeros((128, 64), np.float32)})
"""
TRAIN = """\
import json, os, sys
from pathlib import Path
from fedn.model.helpers import numpy as helper
assert Path("started").exists()
assert json.loads(Path(os.environ["FEDN_CLIENT_SETTINGS"]).read_text()) == {"epochs": 2, "split": "iid"}
assert (os.environ["FEDN_PART"], os.environ["FEDN_PARTS"], os.environ["FEDN_ROUND"]) == ("1", "3", "1")
model = helper.load(sys.argv[1])
model["fc1.weight"] += 1
helper.save(sys.argv[2], model, num_examples=288, metrics={"loss": 0.5})
"""
PLAIN = "import sys\nfrom fedn.model.helpers import numpy as helper\nmodel = helper.load(sys.argv[1])\n"
VALIDATE = (
    PLAIN + 'helper.save_metrics(sys.argv[2], {"accuracy": float(model["fc1.weight"].mean())}, num_examples=72)\n'
)
PREDICT = "import json, sys\njson.dump([1, 2, 3], open(sys.argv[2], 'w'))\n"
GOOD = {
    "fedn.yaml": FEDN_YAML,
    "init_model.py": INIT,
    "client/startup.py": "open('started', 'w').close()\n",
    "client/train.py": TRAIN,
    "client/validate.py": VALIDATE,
    "client/predict.py": PREDICT,
}
OPTIONS = ["--part", "1", "--parts", "3", "--setting", "epochs=2", "--setting", "split=iid"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FEDN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FEDN_CLIENT_ENV_DIR", str(tmp_path_factory.mktemp("envs")))


def write(folder: Path, **changes: str | None) -> Path:
    """The good project, but for these files: `train` is client/train.py."""
    files: dict[str, str | None] = dict(GOOD)
    for name, content in changes.items():
        files[{"fedn_yaml": "fedn.yaml", "init_model": "init_model.py"}.get(name, f"client/{name}.py")] = content
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            (folder / name).write_text(content)
    return folder


def run(folder: Path, *options: str, **environ: str) -> Any:
    return CliRunner(env=environ).invoke(cli, ["run", "local", str(folder), *OPTIONS, *options])


def refused(folder: Path, *options: str) -> FednError:
    done = run(folder, *options)
    assert isinstance(done.exception, FednError), (done.output, done.exception)
    assert f"failed [{done.exception.code}]" in done.output
    return done.exception


def test_every_entry_point_runs_once_and_says_what_came_out(tmp_path: Path) -> None:
    done = run(write(tmp_path))
    assert done.exit_code == 0, (done.output, done.exception)
    lines = [line.split(maxsplit=2) for line in done.output.splitlines()[1:-1]]
    assert [line[0] for line in lines] == [
        "environment",
        "seed",
        "package",
        "unpack",
        "startup",
        "train",
        "validate",
        "predict",
    ]
    assert lines[0][2] == "this Python: fedn.yaml names no python_env"
    assert "1 tensor, " in lines[1][2]
    assert lines[2][2].startswith("5 files, ")
    assert lines[5][2] == "288 examples, loss 0.5"
    assert lines[6][2] == "72 examples, accuracy 1"
    assert lines[7][2] == "9 bytes of JSON"
    assert done.output.endswith("everything ran as the network would run it\n")
    assert not (tmp_path / "client" / "started").exists()  # it ran in the unpacked package


def test_json_holds_the_steps_and_the_error(tmp_path: Path) -> None:
    done = run(write(tmp_path), "--json")
    found = json.loads(done.output)
    assert (done.exit_code, found["error"], found["notes"]) == (0, None, [])
    assert [step["step"] for step in found["steps"]][-2:] == ["validate", "predict"]
    done = run(write(tmp_path, validate="import sys; sys.exit('no test data here')\n"), "--json")
    found = json.loads(done.output)
    assert (done.exit_code, found["error"]["code"]) == (7, "entry_point_failed")
    assert found["steps"][-1]["step"] == "validate"
    assert "no test data here" in found["error"]["detail"]["stderr_tail"]


# what is wrong: the file, its content, then code, words of the reason, words of the advice
WRONG: dict[str, tuple[str, str | None, str, str, str]] = {
    "another shape": (
        "train",
        TRAIN.replace("+= 1", "= model['fc1.weight'].T").replace('model["fc1.weight"] =', "model['fc1.weight'] ="),
        "schema_mismatch",
        "tensor 'fc1.weight' has shape [64, 128] instead of [128, 64]",
        "the same names, shapes and dtypes",
    ),
    "NaN": (
        "train",
        TRAIN.replace("+= 1", "+= np.nan").replace("import json", "import numpy as np, json"),
        "non_finite",
        "fc1.weight",
        "lower the learning rate",
    ),
    "no metadata": (
        "train",
        TRAIN.replace(', num_examples=288, metrics={"loss": 0.5}', ""),
        "output_missing",
        "out-metadata",
        "num_examples=len(labels)",
    ),
    "no model": ("train", "pass\n", "output_missing", "train", "sys.argv[-1]"),
    "no model at all": (
        "train",
        "import sys; open(sys.argv[2], 'w').write('x')\n",
        "output_invalid",
        "not a model",
        "fedn.model.helpers",
    ),
    "no metrics": ("validate", "pass\n", "output_missing", "validate", "sys.argv[-1]"),
    "metrics that are no JSON": (
        "validate",
        "import sys; open(sys.argv[2], 'w').write('x')\n",
        "output_invalid",
        "not JSON",
        "metrics are numbers",
    ),
    "batches of no size": (
        "validate",
        "import json, sys; json.dump({'num_examples': 0.5}, open(sys.argv[2], 'w'))\n",
        "bad_num_examples",
        "num_examples",
        "not of batches",
    ),
    "predictions that are a number": (
        "predict",
        "import sys; open(sys.argv[2], 'w').write('3')\n",
        "output_invalid",
        "neither a JSON object nor a list",
        "",
    ),
    "too long": ("train", "import time; time.sleep(600)\n", "task_timeout", "ran past", "--time-limit"),
    "a module that is not installed": (
        "train",
        "import sklearn_not_there\n",
        "entry_point_failed",
        "train.py",
        "sklearn_not_there is not installed in this Python",
    ),
    "a module that stays at home": (
        "train",
        "import init_model\n",
        "entry_point_failed",
        "train.py",
        "only the folder client/ travels, and init_model.py lies beside it",
    ),
    "a file that stays at home": (
        "train",
        "open('fedn.txt')\n",
        "entry_point_failed",
        "train.py",
        "fedn.txt is named in .fednignore",
    ),
    "a startup that fails": ("startup", "raise SystemExit('no data')\n", "entry_point_failed", "startup.py", ""),
    "a seed with NaN": ("init_model", INIT.replace("np.zeros", "np.nan * np.zeros"), "non_finite", "fc1.weight", ""),
    "an init_model that lacks a module": (
        "init_model",
        "import sklearn_not_there\n",
        "entry_point_failed",
        "init_model",
        "sklearn_not_there is not installed in this Python",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_the_users_words(tmp_path: Path, what: str) -> None:
    name, content, code, reason, advised = WRONG[what]
    folder = write(tmp_path, **{name: content})
    (folder / "client" / ".fednignore").write_text("*.txt\n")
    (folder / "client" / "fedn.txt").touch()
    error = refused(folder, "--time-limit", "1.5" if what == "too long" else "60")
    assert (error.code, reason in error.reason) == (code, True), error.reason
    assert advised in (error.detail["advice"] or ""), error.detail["advice"]


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = refused(write(tmp_path, train=None))
    assert (error.code, "train.py" in error.reason) == ("command_missing", True)


def test_what_is_probably_not_meant_is_said(tmp_path: Path) -> None:
    yaml = FEDN_YAML.replace("  validate: python validate.py\n", "")
    done = run(write(tmp_path, train=TRAIN.replace("+= 1", "+= 0"), fedn_yaml=yaml))
    assert done.exit_code == 0
    assert "be aware that train wrote the very model that it was given" in done.output
    assert "be aware that there is no entry point validate" in done.output


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["run", "local", str(write(tmp_path)), "--part", "5"])
    assert isinstance(done.exception, FednError)
    assert "--part 5: the parts are 0 … 4" in done.exception.reason


def test_settings_for_a_named_client_are_refused_and_the_owners_own_win(tmp_path: Path) -> None:
    done = run(write(tmp_path), "--setting", "client-3:epochs=2")
    assert isinstance(done.exception, BadInput)
    assert "--setting client-3:…" in done.exception.reason
    (tmp_path / "own.json").write_text('{"epochs": 2}')
    done = run(tmp_path, "--setting", "epochs=9", FEDN_CLIENT_TRAINING=str(tmp_path / "own.json"))
    assert done.exit_code == 0, done.exception
    (tmp_path / "own.json").write_text("no JSON")
    done = run(tmp_path, FEDN_CLIENT_TRAINING=str(tmp_path / "own.json"))
    assert isinstance(done.exception, ConfigInvalid)
    assert "own.json, are not JSON" in done.exception.reason


def test_an_environment_is_asked_for_unless_it_is_not_wanted(tmp_path: Path) -> None:
    folder = write(tmp_path, fedn_yaml="python_env: requirements.txt\n" + FEDN_YAML)
    (folder / "client" / "requirements.txt").write_text("no such requirement\n")
    error = refused(folder)
    assert error.code == "environment_failed"
    assert "--no-env" in error.detail["advice"]
    done = run(folder, "--no-env")
    assert done.exit_code == 0
    assert "this Python, not an environment of requirements.txt" in done.output
