"""Package ppeconv; the choice of a Paddle build is left to the extras [cpu] and [gpu]."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "ppeconv" / "__init__.py").read_text("utf-8").splitlines()
    if line.startswith("__version__")
)


def requirements(name: str) -> list[str]:
    """The requirements of a file, those of files it includes left out."""
    lines = (HERE / name).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


COMMON = [line for line in requirements("requirements-common.txt") if not line.startswith("paddleclas")]

setup(
    name="ppeconv",
    version=VERSION,
    description="A PaddlePaddle model zoo of efficient convolution operators",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["ppeconv", "ppeconv.*"]), "ppeconv.configs"],
    package_dir={"ppeconv.configs": "configs"},
    package_data={"ppeconv.configs": ["*.yaml", "_base_/*.yaml", "_base_/*/*.yaml"]},
    install_requires=COMMON,
    extras_require={
        "cpu": requirements("requirements.txt"),
        "gpu": requirements("requirements-gpu.txt"),
        "onnx": requirements("requirements-onnx.txt"),
        "openvino": requirements("requirements-onnx.txt") + requirements("requirements-openvino.txt"),
        "clas": ['paddleclas==2.6.0; python_version < "3.12"'],
    },
    entry_points={"console_scripts": ["ppeconv = ppeconv.cli.main:main"]},
)
