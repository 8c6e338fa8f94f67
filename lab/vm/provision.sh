#!/bin/bash
# Makes a Debian machine ready for the lab. The Vagrantfile calls it once for each step, as root; each can be repeated, says
# what it changes, and fails when the machine is not as it should be.
#   usage: provision.sh packages|host|c1m|doctor [SCENARIO]
set -Eeuo pipefail
shopt -s inherit_errexit

step=${1:?usage: provision.sh packages|host|c1m|doctor [SCENARIO]}
scenario=${2:-}
source_dir=/vagrant
changes=0

say() { printf '%s: %s\n' "$step" "$*"; }
changed() { changes=$((changes + 1)); say "changed: $*"; }
die() { printf '%s: FAILED: %s\n' "$step" "$*" >&2; exit 1; }
trap 'die "line $LINENO: $BASH_COMMAND"' ERR

missing() { # missing PACKAGE...: those that are not installed
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
  done
}

install_packages() { # install_packages PACKAGE...: without what they only recommend
  local wanted
  read -ra wanted <<<"$(missing "$@")"
  [ ${#wanted[@]} -gt 0 ] || { say "installed already: $*"; return; }
  say "installing ${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${wanted[@]}" >/dev/null
  changed "installed ${wanted[*]}"
}

place_file() { # place_file PATH: makes the file hold what comes on stdin
  local path=$1 wanted
  wanted=$(mktemp)
  cat >"$wanted"
  if ! cmp -s "$wanted" "$path"; then
    install -D -m 644 "$wanted" "$path"
    changed "wrote $path"
  fi
  rm -f "$wanted"
}

packages() {
  # docker-cli and apparmor are only recommended by docker.io: without the one there is no `docker`, without the other the
  # daemon runs and every container fails to start.
  install_packages docker.io docker-cli apparmor
  systemctl enable --quiet --now docker
  docker info --format 'packages: Docker {{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}} ({{.CgroupDriver}})' ||
    die "the Docker daemon does not answer: journalctl -u docker"
}

host() {
  # Only what belongs to the machine and no run can set for itself: c1m sets what belongs to a namespace there, and what a
  # scenario asks of the host it writes into its journal and puts back.
  place_file /etc/sysctl.d/60-c1m.conf <<'CONF'
# Made by lab/vm/provision.sh.
# The neighbour table is one for all namespaces, and its default of 1024 is less than a lab of some hundred addresses needs.
net.ipv4.neigh.default.gc_thresh1 = 4096
net.ipv4.neigh.default.gc_thresh2 = 8192
net.ipv4.neigh.default.gc_thresh3 = 16384
# The kernel's log may be read without root, so that a report quotes what the kernel said during any run.
kernel.dmesg_restrict = 0
CONF
  sysctl --quiet --load=/etc/sysctl.d/60-c1m.conf

  # A session has 524,288 from systemd. With twice that, a program that keeps all its sockets in one descriptor table may hold
  # a million. The soft limit stays, because programs that use select() break above 1024; c1m raises its own.
  place_file /etc/security/limits.d/60-c1m.conf <<'CONF'
# Made by lab/vm/provision.sh.
*    hard nofile 1048576
root hard nofile 1048576
CONF

  # `vagrant ssh -c 'c1m run lab/scenarios/…'` shall find the file, and put the results beside it.
  place_file /etc/profile.d/c1m.sh <<CONF
# Made by lab/vm/provision.sh.
[ "\$PWD" != "\$HOME" ] || [ ! -d $source_dir/lab ] || cd $source_dir
CONF

  [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || die "/sys/fs/cgroup is not cgroup v2: boot with systemd.unified_cgroup_hierarchy=1"
  grep -qw memory /sys/fs/cgroup/cgroup.controllers || die "cgroup v2 has no memory controller here: boot with cgroup_enable=memory"
  [ "$(printf '6.12\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.12 ] ||
    die "Linux $(uname -r) is older than 6.12, the first to charge an accepted socket to its cgroup: take a newer box"
  say "Linux $(uname -r), cgroup v2 with $(cat /sys/fs/cgroup/cgroup.controllers)"
}

build() { # builds the program here and prints its path
  local home=/opt/rust
  install_packages ca-certificates curl gcc libc6-dev >&2
  export RUSTUP_HOME=$home CARGO_HOME=$home CARGO_TARGET_DIR=/var/cache/c1m
  if [ ! -x $home/bin/cargo ]; then
    say "installing Rust below $home" >&2
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail https://sh.rustup.rs |
      sh -s -- -q -y --profile minimal --no-modify-path >&2
  fi
  say "building, which takes minutes" >&2
  (cd $source_dir && $home/bin/cargo build --quiet --release --locked >&2)
  ls -1 $CARGO_TARGET_DIR/*/release/c1m
}

c1m() {
  local candidate binary=
  for candidate in "$source_dir"/target/*/release/c1m; do
    [ -f "$candidate" ] || continue
    if ! "$candidate" --version >/dev/null 2>&1; then
      say "$candidate does not run on $(uname -m)"
    elif [ -z "$binary" ] || [ "$candidate" -nt "$binary" ]; then
      binary=$candidate
    fi
  done
  if [ -z "$binary" ]; then
    say "no static binary was carried in"
    binary=$(build)
  fi
  if ! cmp -s "$binary" /usr/local/bin/c1m; then
    install -m 755 "$binary" /usr/local/bin/c1m
    changed "installed /usr/local/bin/c1m from $binary"
  fi
  say "$(/usr/local/bin/c1m --version)"
}

doctor() {
  cd "$source_dir"
  /usr/local/bin/c1m doctor ${scenario:+"$scenario"} || die "c1m doctor found what has to be cured first (exit $?)"
}

case $step in
packages | host | c1m | doctor) "$step" ;;
*) die "no such step; there are packages, host, c1m, doctor" ;;
esac
say "done, $changes change(s)"
