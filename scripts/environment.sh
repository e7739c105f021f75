#!/usr/bin/env bash
# make_environment DIR REQUIREMENTS...: a virtual environment with these files installed, made anew when one changes.
# PYTHON names the interpreter; without it the first of 3.11, 3.10, 3.12, 3.13 that runs.

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.10 python3 python3.12 python3.13; do
    if "$candidate" -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
    [ "$candidate" != "${PYTHON:-}" ] || break
  done
  echo "no Python 3.10 to 3.13 with venv was found; install one (Debian: apt-get install python3-venv) or set PYTHON" >&2
  return 1
}

make_environment() {
  local folder=$1 python stamp
  shift
  python=$(find_python) || return
  stamp=$("$python" --version; cat requirements*.txt)
  if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ]; then
    "$python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install -q --disable-pip-version-check $(printf -- '-r %s ' "$@")
    echo "$stamp" > "$folder/stamp"
  fi
}

# install_package DIR: ppeconv itself into such an environment, from where it lies, so that it is found from any folder.
# It is built with the environment's own setuptools, the first of which that knows the licence as pyproject.toml gives it is 77.
install_package() {
  local pip=("$1/bin/python" -m pip install -q --disable-pip-version-check)
  if ! "$1/bin/python" -I -c 'import ppeconv' 2>/dev/null; then
    "${pip[@]}" 'setuptools>=77,<81'
    "${pip[@]}" --no-deps --no-build-isolation -e .
  fi
}

# install_detection DIR: an environment with PaddleDetection, on Python 3.10 or 3.11. It goes on top without its own pins,
# which no longer fit each other.
install_detection() {
  make_environment "$1" requirements-det.txt requirements-onnx.txt
  install_package "$1"
  if ! "$1/bin/python" -I -c 'import importlib.util as it, sys; sys.exit(it.find_spec("ppdet") is None)'; then
    "$1/bin/python" -m pip install -q --disable-pip-version-check --no-deps paddledet==2.6.0
  fi
}
