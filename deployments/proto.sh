#!/usr/bin/env bash
# Generates streamwave/v1 from proto/. With --check, fails if the committed files are out of date.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob globstar
sources=(proto/**/*.proto)
[ ${#sources[@]} -gt 0 ] || exit 0

target=.
if [ "${1:-}" = --check ]; then
  target=$(mktemp -d)
  trap 'rm -rf "$target"' EXIT
fi
.venv/bin/python -m grpc_tools.protoc -I proto --python_out="$target" --pyi_out="$target" --grpc_python_out="$target" "${sources[@]}"
if [ "$target" != . ]; then
  for fresh in "$target"/**/*_pb2*.py*; do
    cmp -s "$fresh" "${fresh#"$target"/}" || { echo "${fresh#"$target"/} is out of date: run make proto" >&2; exit 1; }
  done
fi
