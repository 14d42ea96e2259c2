#!/usr/bin/env bash
# Lints the contracts, checks their format, and compares them with those of an earlier commit.
# usage: protos/check.sh [BASE]   BASE is the commit to compare with; on BASE itself, its parent is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:-main}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python protos/image.py protos "$folder/now.binpb"
buf lint "$folder/now.binpb" --config buf.yaml
buf format --diff --exit-code protos

earlier=$(git rev-parse --quiet --verify "$base^{commit}" || true)
if [[ -n $earlier && $earlier == "$(git rev-parse --quiet --verify HEAD || true)" ]]; then
  earlier=$(git rev-parse --quiet --verify "$earlier^" || true)
fi
if [[ -z $earlier ]] || ! git cat-file -e "$earlier:protos/flux" 2>/dev/null; then
  echo "buf breaking: there is no earlier contract to compare with"
  exit 0
fi
mkdir "$folder/earlier"
git archive "$earlier" protos | tar -x -C "$folder/earlier"
python protos/image.py "$folder/earlier/protos" "$folder/earlier.binpb"
buf breaking "$folder/now.binpb" --against "$folder/earlier.binpb" --config buf.yaml
