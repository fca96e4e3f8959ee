"""What a package's python_env asks for, as pip is told it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedn.client.requirements import Requirements, read_requirements
from fedn.errors import ConfigInvalid


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_txt", ".txt")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "line",
    [
        "fedn",
        "FEDn==0.33.0",
        "fedn[torch] >= 0.1 ; python_version > '3'",
        "fedn @ git+https://example.org/someone/else.git",
        "git+https://example.org/scaleout/fedn.git@main",
        "git+https://example.org/scaleout/fedn#subdirectory=x",
        "-e ../../fedn",
        "--editable=../fedn[torch]",
        "./fedn-0.33.0-py3-none-any.whl",
        "-e git+https://example.org/x.git#egg=fedn",
    ],
)
def test_a_line_that_names_fedn_is_left_out_and_said(line: str, tmp_path: Path) -> None:
    write(tmp_path, requirements_txt=f"numpy\n{line}\n")
    found = read_requirements(tmp_path, "requirements.txt")
    assert found == Requirements(("numpy",), left_out=(f"{tmp_path}/requirements.txt:2: {line}",))


@pytest.mark.parametrize(
    "line",
    ["fedn-extras", "fednx==1", "xfedn", "torch @ https://x/fedn", "-f https://x/fedn", "./fedn/wheels/a.whl"],
)
def test_a_line_that_names_something_else_stays(line: str, tmp_path: Path) -> None:
    write(tmp_path, requirements_txt=line)
    assert read_requirements(tmp_path, "requirements.txt") == Requirements((line,))


def test_comments_and_continued_lines(tmp_path: Path) -> None:
    write(
        tmp_path,
        requirements_txt="# all\n\na==1 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11  # two\nurl#not-a-comment\n",
    )
    found = read_requirements(tmp_path, "requirements.txt")
    assert [line.split() for line in found.lines] == [
        ["a==1", "--hash=sha256:00", "--hash=sha256:11"],
        ["url#not-a-comment"],
    ]


def test_included_files_are_read_too_and_paths_are_relative_to_the_package(tmp_path: Path) -> None:
    write(
        tmp_path,
        env__requirements_txt="-r more.txt\n-c ../limits.txt\n--find-links=wheels\n-f /srv/wheels\n-f https://x/y\n",
        env__more_txt="numpy\nfedn\n--constraint limits.txt\n-r https://example.org/r.txt\n",
    )
    found = read_requirements(tmp_path, "env/requirements.txt")
    assert found.lines == ("numpy", "-r https://example.org/r.txt", "-f /srv/wheels", "-f https://x/y")
    assert found.arguments == ("--constraint", "env/limits.txt", "-c", "limits.txt", "--find-links", "env/wheels")
    assert found.left_out == (f"{tmp_path}/env/more.txt:2: fedn",)


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ({"requirements_txt": "a\n-r ../secret.txt\n"}, r"requirements.txt:2: '../secret.txt' is outside the package"),
        ({"requirements_txt": "-c /etc/passwd\n"}, r"requirements.txt:1: '/etc/passwd' is outside the package"),
        ({"requirements_txt": "a\n-r requirements.txt\n"}, r"requirements.txt:2: .* deeper than 8 levels"),
        ({"requirements_txt": "-r gone.txt\n"}, r"requirements.txt:1: .*gone.txt: No such file"),
    ],
)
def test_what_is_wrong_with_a_requirements_file_is_named(files: dict[str, str], wrong: str, tmp_path: Path) -> None:
    write(tmp_path, **files)
    with pytest.raises(ConfigInvalid, match=wrong):
        read_requirements(tmp_path, "requirements.txt")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigInvalid, match="not a text in UTF-8"):
        read_requirements(tmp_path, "requirements.txt")


def test_upstreams_python_env_yaml(tmp_path: Path) -> None:
    text = "name: mnist\nbuild_dependencies:\n  - pip\ndependencies:\n  - torch==2.4\n  - fedn==0.33\n"
    (tmp_path / "python_env.yaml").write_text(text)
    assert read_requirements(tmp_path, "python_env.yaml") == Requirements(
        ("torch==2.4",), ("pip",), left_out=(f"{tmp_path}/python_env.yaml:6: fedn==0.33",)
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("dependencys: []\n", r"python_env.yaml:1: unknown key 'dependencys'; did you mean 'dependencies'\?"),
        ("dependencies: numpy\n", r"python_env.yaml:1: dependencies: expected a list, found 'numpy'"),
        ("dependencies:\n  - 1.5\n", r"python_env.yaml:2: dependencies: expected text, found 1.5"),
        ('dependencies: ["a\\nb"]\n', r"python_env.yaml:1: dependencies: expected one line"),
    ],
)
def test_what_is_wrong_with_a_python_env_yaml_is_named(text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "python_env.yaml").write_text(text)
    with pytest.raises(ConfigInvalid, match=wrong):
        read_requirements(tmp_path, "python_env.yaml")
