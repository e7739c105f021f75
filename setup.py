"""The packages of a build, among them `configs/`, which lies beside the package; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ppeconv", "ppeconv.*"]), "ppeconv.configs"],
    package_dir={"ppeconv.configs": "configs"},
    package_data={
        "ppeconv": ["py.typed"],
        "ppeconv.configs": [
            "*.yaml",
            "_base_/*.yaml",
            "_base_/*/*.yaml",
            "detection/*.yaml",
            "detection/_base_/*.yaml",
        ],
        "ppeconv.zoo": ["rows.yaml", "*/seed*/record.json", "*/seed*/weights.safetensors"],
    },
)
