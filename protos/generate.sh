#!/usr/bin/env bash
# Makes libs/contracts from the protos. `generate.sh --check` only says whether what is committed is what they make.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=libs/contracts/src
if [ "${1:-}" = --check ]; then out=$(mktemp -d); trap 'rm -rf "$out"' EXIT; fi
bin=$PWD/.venv/bin
mapfile -t files < <(find protos/farthing third_party/buf -name '*.proto' | sort)
[ "${1:-}" = --check ] || find "$out" -name '*_pb2*.py*' -delete
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I protos -I third_party \
  --python_out="$out" --mypy_out=quiet:"$out" --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" "${files[@]}"
# Files without services get an empty gRPC stub from protoc; a reader should not wonder about those.
grep -L 'class .*Stub' $(find "$out" -name '*_pb2_grpc.py') | while read -r f; do rm -f "$f" "${f}i"; done
if [ "${1:-}" = --check ]; then
  diff -r -q -x py.typed -x __pycache__ -x '*.egg-info' libs/contracts/src "$out" || { echo "libs/contracts is not what the protos make: run 'make protos' and commit"; exit 1; }
fi
