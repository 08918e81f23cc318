#!/usr/bin/env bash
# Prepares a checkout: installs system packages, virtual environment and player packages, and creates Prefect's database.
#
#   deployments/setup.sh run     for `make demo`
#   deployments/setup.sh test    for `make test`: also Chromium
#
# Steps that are already done are skipped; a second run takes well under a second.
set -euo pipefail
cd "$(dirname "$0")/.."
for_what=${1:-test}
export LC_ALL=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] %s\n' "$*" >&2; exit 1; }
# Debian installs nginx in /usr/sbin, which may not be in a user's PATH.
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

# Files in var/ (databases, logs, received media) are private to its user. Shared folders such as .venv are not.
private() { (umask 077; "$@"); }
private mkdir -p var
# Close a var/ that an earlier version left readable, unless it belongs to another user.
if [ -O var ] && [ ! -L var ]; then chmod go-rwx var; fi
touch_private() { [ -e "$1" ] || private touch "$1"; }

# Prevent two concurrent `make` runs from building the same virtual environment.
if have flock; then
  touch_private var/setup.lock
  exec 9>var/setup.lock
  flock -w 900 9 || die "another setup has held var/setup.lock for 15 minutes: end it and try again"
fi

# --- Python ----------------------------------------------------------------------------------------------------------
usable_python() { # at least 3.11, with the modules to create virtual environments
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}
find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 /usr/bin/python3.11 python3 /usr/bin/python3 python3.12 python3.13; do
    if usable_python "$candidate"; then command -v "$candidate"; return 0; fi
  done
  return 1
}

# --- system packages -------------------------------------------------------------------------------------------------
# Filled in parallel: the Debian package, and its name for users of other systems.
packages=() names=() optional=()
need() { packages+=("$1"); names+=("$2"); }

find_python >/dev/null || { need python3 "Python 3.11 or newer"; need python3-venv "Python's venv and ensurepip"; }
{ have node && have npm; } || { need nodejs "Node.js"; need npm "npm"; }
have "${FFMPEG_PATH:-ffmpeg}" || { need ffmpeg "FFmpeg 5.1 or newer"; optional+=(ffmpeg); }
have nginx || { need nginx-light "nginx"; optional+=(nginx-light); }
compgen -G '/usr/lib*/nginx/modules/ngx_rtmp_module.so' >/dev/null ||
  { need libnginx-mod-rtmp "nginx's RTMP module"; optional+=(libnginx-mod-rtmp); }
# The font of the frame counter that the demo and the tests burn into their video.
compgen -G '/usr/share/fonts/*/dejavu*/DejaVuSans.ttf' >/dev/null ||
  { need fonts-dejavu-core "the font DejaVu Sans"; optional+=(fonts-dejavu-core); }
if [ "$for_what" = test ]; then
  have chromium || have google-chrome || need chromium "Chromium"
  # Security tests attack from another host, which is a network namespace.
  have ip || need iproute2 "iproute2"
  have unshare || need util-linux "util-linux"
fi

install_packages() {
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    have sudo || die "to install ${packages[*]} run as root: apt-get install --no-install-recommends ${packages[*]}"
    root=(sudo)
  fi
  say "installing system packages: ${packages[*]} (one to four minutes)"
  # Day-old package lists may name files that the mirrors no longer have.
  "${root[@]}" apt-get -qq update </dev/null || say "apt-get update failed; continuing with the existing package lists"
  touch_private var/setup-apt.log
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends \
    "${packages[@]}" </dev/null >var/setup-apt.log 2>&1 || {
    tail -n 15 var/setup-apt.log >&2
    die "apt-get could not install ${packages[*]}: see var/setup-apt.log, fix the problem and run this again"
  }
}

is_debian() { # 12 or newer; older releases have no Python 3.11
  have apt-get && (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-99}" -ge 12 ]) 2>/dev/null
}

if [ ${#packages[@]} -gt 0 ]; then
  if is_debian; then
    install_packages
  else
    missing=""
    for i in "${!packages[@]}"; do missing+="${missing:+, }${names[$i]}"; done
    say "packages are installed automatically on Debian 12 and newer only; missing on this system: $missing"
    # FFmpeg and nginx are optional: a pip package includes FFmpeg, and transcoding files does not need nginx.
    for package in "${packages[@]}"; do
      [[ " ${optional[*]} " == *" $package "* ]] || die "install the missing packages with your system's tools, then run this again"
    done
  fi
fi

python=$(find_python) || die "no Python 3.11 or newer with venv and ensurepip in PATH: install one (Debian 12: python3 and \
python3-venv), or point to one: make PYTHON=/path/to/python3.11"

# --- virtual environment ---------------------------------------------------------------------------------------------
# The stamp includes the path, because a virtual environment cannot be moved.
stamp=$(cat pyproject.toml constraints.txt <(pwd) | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.stamp 2>/dev/null)" != "$stamp" ] || ! usable_python .venv/bin/python; then
  if ! usable_python .venv/bin/python || ! head -n 3 .venv/bin/pip 2>/dev/null | grep -qF "$(pwd)/.venv/"; then
    say "creating .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
  fi
  say "installing the pinned Python packages into .venv (about two minutes the first time)"
  .venv/bin/python -m pip install -q -c constraints.txt -e '.[dev]' </dev/null ||
    die "pip could not install the packages: see its message above; the pins are in constraints.txt"
  echo "$stamp" >.venv/.stamp
fi

# --- player packages -------------------------------------------------------------------------------------------------
if [ -f package-lock.json ]; then
  stamp=$(cat package.json package-lock.json | sha256sum | cut -d' ' -f1)
  if [ "$(cat node_modules/.stamp 2>/dev/null)" != "$stamp" ]; then
    say "installing the pinned player packages into node_modules"
    touch_private var/setup-npm.log
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >var/setup-npm.log 2>&1 || {
      tail -n 15 var/setup-npm.log >&2
      die "npm could not install the packages: see var/setup-npm.log"
    }
    echo "$stamp" >node_modules/.stamp
  fi
fi

# --- Prefect's database ----------------------------------------------------------------------------------------------
# Created once here, because the migrations would delay the first start by about 15 seconds.
home=${PREFECT_HOME:-$PWD/var/prefect}
stamp=$(grep -i '^prefect==' constraints.txt)
if [ "$(cat "$home/.stamp" 2>/dev/null)" != "$stamp" ]; then
  say "creating Prefect's database in $home"
  private mkdir -p "$home"
  touch_private var/setup-prefect.log
  private env -u PREFECT_API_URL -u PREFECT_API_DATABASE_CONNECTION_URL PREFECT_HOME="$home" \
    PREFECT_SERVER_ANALYTICS_ENABLED=false .venv/bin/prefect server database upgrade -y </dev/null >var/setup-prefect.log 2>&1 || {
    tail -n 15 var/setup-prefect.log >&2
    die "Prefect could not create its database in $home: see var/setup-prefect.log"
  }
  touch_private "$home/.stamp"
  echo "$stamp" >"$home/.stamp"
fi
say "ready (${SECONDS} s)"
