#!/bin/sh
# The first stage of both images: a virtual environment with a role's extras, from constraints.txt and nothing else.
#
#   install.sh packages EXTRAS TORCH   everything but the project itself: a layer that changes with the versions only
#   install.sh project                 the project, without asking the network for anything
#   install.sh cuda CUDA               fail unless torch's CUDA is CUDA ("none": no torch, or one without)
#
# TORCH: none · pip (where TORCH_INDEX names an index of its own, from there) · base (the base image's; none is installed)
set -eu
ENV=/opt/venv
SETUPTOOLS='setuptools>=77'

constraints() {
  # What the base image brings is taken as it is.
  if [ "$1" = base ]; then grep -viE '^(torch|triton|nvidia[a-z0-9-]*|cuda-[a-z]+|numpy)==' constraints.txt; else cat constraints.txt; fi
}

case $1 in
  packages)
    extras=$2 torch=$3 site=
    case $torch in
      none) ;;
      pip) extras=$extras,torch ;;
      base)
        python -c 'import torch' 2>/dev/null || { echo "the base image has no torch: use TORCH=pip" >&2; exit 1; }
        site=--system-site-packages ;;
      *) echo "TORCH=$torch: none, pip or base" >&2; exit 1 ;;
    esac
    python -m venv $site $ENV
    constraints "$torch" >/tmp/constraints.txt
    $ENV/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint /tmp/constraints.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$SETUPTOOLS" ".[$extras]"
    $ENV/bin/python -m pip uninstall --quiet --yes sagestage ;;
  project)
    $ENV/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .
    rm -f $ENV/bin/sagestage  # the command line is not in the images
    $ENV/bin/python -m pip uninstall --quiet --yes setuptools pip ;;
  cuda)
    $ENV/bin/python - "$2" <<'PYTHON'
import importlib.util, sys
found = "none"
if importlib.util.find_spec("torch"):
    import torch
    found = torch.version.cuda or "none"
if sys.argv[1] != found:
    sys.exit(f"CUDA={sys.argv[1]}, and the image's torch has {found}: build with --build-arg CUDA={found}")
PYTHON
    ;;
esac
