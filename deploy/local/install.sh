#!/usr/bin/env bash
# Makes .venv: the locked packages with their hashes, then Farthing's own packages, editable.
# Safe to repeat: it does nothing when nothing changed, and a broken run leaves no stamp behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

UV_VERSION=0.13.9
PYTHON=${PYTHON:-python3}
say() { printf '  %s\n' "$*"; }
die() { printf '\nfarthing: %s\n' "$*" >&2; exit 1; }

command -v "$PYTHON" >/dev/null || die "no '$PYTHON' here. Install Python 3.11 or later, or name one: make PYTHON=/path/to/python3"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || die "$("$PYTHON" --version) is too old; Farthing needs 3.11 or later. Name one with: make PYTHON=/path/to/python3"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null \
  || die "this Python cannot make virtual environments. On Debian: apt install python3-venv"

wanted=$(cat requirements.lock pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml deploy/local/pyproject.toml \
  cli/pyproject.toml deploy/local/install.sh | "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
[ "$(cat .venv/.installed 2>/dev/null)" = "$wanted $PWD" ] && exit 0

say "installing Python packages into .venv (once, about half a minute) ..."
export UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=${UV_LINK_MODE:-copy} PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x .tools/bin/uv ] && [ "$(.tools/bin/uv --version | cut -d' ' -f2)" = "$UV_VERSION" ] || {
  rm -rf .tools/bin .tools/lib .tools/lib64 .tools/include .tools/pyvenv.cfg
  "$PYTHON" -m venv .tools || die "could not make a virtual environment in $PWD/.tools"
  .tools/bin/pip install -q "uv==$UV_VERSION" || { rm -rf .tools/bin; die "could not install uv from the package index. Is it reachable? pip's own settings (PIP_INDEX_URL, PIP_CERT) are used."; }
}
[ -x .venv/bin/python ] || .tools/bin/uv venv -q --python "$PYTHON" .venv
rm -f .venv/.installed
.tools/bin/uv pip sync -q --python .venv/bin/python --require-hashes requirements.lock \
  || die "could not install the locked packages; the lines above say which. Run the same command again when the package index is reachable."
members=()
for project in libs/* services/* deploy/local cli; do members+=(-e "$project"); done
.tools/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation "${members[@]}" \
  || die "could not install Farthing's own packages"
echo "$wanted $PWD" > .venv/.installed
say "packages ready"
