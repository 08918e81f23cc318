#!/usr/bin/env bash
# Checks the pinned packages for known vulnerabilities: constraints.txt (pip-audit), package-lock.json (npm audit).
#
#   deployments/audit.sh [--strict]
#
# Exits with 1 if there are any. If vulnerability data is unavailable, a message says so; only --strict makes that an error (2).
# docs/audit.md has the results of past audits, and what such data does not cover.
set -uo pipefail
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
pinned=2.10.1
known_bad='jinja2==2.10' # vulnerable for years: data without it is useless
strict=0 found=0 missing=0
[ "${1:-}" != --strict ] || strict=1

unreached() { printf '[audit] the vulnerability data for %s is unavailable: nothing was checked\n' "$1"; missing=1; }
audited() { # audited FILE OUTPUT: run pip-audit on the packages in FILE; return its status
  var/audit/bin/pip-audit -r "$1" --no-deps --disable-pip --progress-spinner off >"$2" 2>&1
}

mkdir -p var
if [ "$(cat var/audit/.stamp 2>/dev/null)" != "$pinned" ]; then # a separate environment: its dependencies are not ours
  rm -rf var/audit
  .venv/bin/python -m venv var/audit && var/audit/bin/python -m pip install -q "pip-audit==$pinned" </dev/null >var/audit-pip.log 2>&1 &&
    echo "$pinned" >var/audit/.stamp
fi
printf '%s\n' "$known_bad" >var/audit-known.txt
if [ ! -x var/audit/bin/pip-audit ] || audited var/audit-known.txt var/audit-known.log || ! grep -q '^jinja2 ' var/audit-known.log; then
  unreached "Python packages"
elif audited constraints.txt var/audit-python.log; then
  printf '[audit] %s Python packages: no known vulnerabilities\n' "$(grep -c '^[a-z].*==' constraints.txt)"
elif grep -q '^Name ' var/audit-python.log; then
  cat var/audit-python.log
  found=1
else
  unreached "Python packages"
fi

npm audit --json </dev/null >var/audit-npm.json 2>/dev/null
case $(node -e '
  try { const told = JSON.parse(require("fs").readFileSync("var/audit-npm.json")).metadata.vulnerabilities.total
        console.log(told > 0 ? "found" : "none") } catch { console.log("unreached") }') in
  none) printf '[audit] players: no known vulnerabilities\n' ;;
  found) npm audit </dev/null; found=1 ;;
  *) unreached "players" ;;
esac

[ "$found" -eq 0 ] || exit 1
[ "$strict" -eq 0 ] || [ "$missing" -eq 0 ] || exit 2
