#!/usr/bin/env bash
# wheels.sh FOLDER [HAS]: fetch the wheels that a machine with a GPU and no network needs.
#
#   FOLDER  where the wheels go
#   HAS     a file of what that machine has (`python3 -m pip freeze > HAS` there): these packages
#           are left out. Delete a line of it to carry that package all the same.
#
# Versions are those that pyproject.toml pins. torch, triton and NVIDIA's libraries are never carried:
# they are gigabytes, and belong to the machine. Needs uv. PYTHON=3.12 and PLATFORM=x86_64 may be set.
set -euo pipefail
folder=${1:?usage: wheels.sh FOLDER [HAS]}
has=${2:-/dev/null}
python=${PYTHON:-3.12}
platform=${PLATFORM:-x86_64}
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder"

# The project's dependencies, pytest for the tests, and the recording that `compare` speaks.
wanted=$(mktemp)
carried=$(mktemp)
trap 'rm -f "$wanted" "$carried"' EXIT
printf 'pytest\nmoonshine-voice\n' |
  uv pip compile --quiet --project "$root" --no-header --no-annotate \
    --python-version "$python" --python-platform "$platform-manylinux_2_34" \
    "$root/pyproject.toml" - >"$wanted"

awk -v has="$has" '
  function name(line) { sub(/[ =<>;@\[].*/, "", line); gsub(/[_.]+/, "-", line); return tolower(line) }
  BEGIN { while ((getline line < has) > 0) there[name(line)] = 1 }
  { n = name($0) }
  n ~ /^(torch|triton|nvidia-.*|cuda-.*)$/ && n != "nvidia-ml-py" { next }
  n in there { next }
  { print $1 }' "$wanted" >"$carried"

uv tool run --quiet pip download --quiet --no-deps --implementation cp --python-version "$python" \
  $(printf -- "--platform manylinux_2_%s_$platform " 17 24 27 28 31 34 35) \
  --platform "manylinux2014_$platform" --platform "manylinux1_$platform" \
  --dest "$folder" --requirement "$carried"
# Published as source only: pure Python, so that the wheel can be built here.
for source in "$folder"/*.tar.gz; do
  [ -e "$source" ] || continue
  uv tool run --quiet pip wheel --quiet --no-deps --wheel-dir "$folder" "$source"
  rm "$source"
done
du -sh "$folder"
