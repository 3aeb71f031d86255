#!/usr/bin/env bash
# The two commands of the README on a machine that has nothing: a Debian 12 made by debootstrap in FOLDER, once as root and once
# as a user with sudo, each in a fresh copy of it, from a fresh clone of this checkout's last commit.
#   tests/bare_debian.sh FOLDER [root|user]      both, or one
# Needs root, debootstrap, and 8 GB in FOLDER, which must not exist. The data in EVENKEEL_DATA, if set, are put where the user's
# would be; else `make study` fetches them. Prints each command's last lines and its seconds. Exit code 77: debootstrap is missing.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [root|user]" >&2; exit 2; }
folder=$(realpath -m "$1") who=${2:-root user} source=$(cd "$(dirname "$0")/.." && pwd)
command -v debootstrap >/dev/null || { echo "skipped: there is no debootstrap"; exit 77; }
[ "$(id -u)" -eq 0 ] || { echo "$0: debootstrap and chroot need root" >&2; exit 1; }
[ ! -e "$folder" ] || { echo "$0: $folder is there already: name another folder" >&2; exit 2; }

machine= # where something is mounted
unmount() {
  local place
  [ -n "$machine" ] || return 0
  for place in dev proc; do umount "$machine/$place" 2>/dev/null || true; done
  machine=
}
trap unmount EXIT

mkdir -p "$folder"
# The packages come from where this machine's come from.
cached=$folder/packages
mkdir "$cached"
debootstrap --variant=minbase --cache-dir="$cached" bookworm "$folder/bare" >"$folder/debootstrap.log" ||
  { tail -5 "$folder/debootstrap.log"; exit 1; }
cp -r /etc/apt/apt.conf.d /etc/apt/sources.list.d "$folder/bare/etc/apt/"
cp /etc/resolv.conf /etc/hosts "$folder/bare/etc/"
if [ -d /etc/ssl/certs ]; then mkdir -p "$folder/bare/etc/ssl" && cp -rL /etc/ssl/certs "$folder/bare/etc/ssl/"; fi

for user in $who; do
  machine=$folder/$user
  cp -a "$folder/bare" "$machine"
  mount --bind /proc "$machine/proc"
  mount --bind /dev "$machine/dev"
  inside() { chroot "$machine" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@"; }
  # What the README asks for, and sudo for the user.
  inside apt-get update -qq
  inside env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends git make ca-certificates sudo >/dev/null 2>&1
  home=/root as=()
  if [ "$user" = user ]; then
    inside useradd --create-home user
    echo 'user ALL=(ALL) NOPASSWD: ALL' >"$machine/etc/sudoers.d/user"
    home=/home/user as=(sudo -u user -H)
  fi
  git clone -q "$source" "$machine$home/evenkeel"
  if [ -n "${EVENKEEL_DATA:-}" ]; then
    mkdir -p "$machine$home/evenkeel/data/mnist"
    cp "$EVENKEEL_DATA"/* "$machine$home/evenkeel/data/mnist/"
  fi
  if [ "$user" = user ]; then inside chown -R user:user "$home/evenkeel"; fi
  for command in "make study EPOCHS=1" "make test"; do
    started=$SECONDS
    echo "=== $user: $command"
    log=$folder/$user-${command// /-}.log
    if ! inside "${as[@]}" sh -c "cd $home/evenkeel && $command" >"$log" 2>&1; then
      tail -40 "$log"
      echo "FAILED: $user: $command ($((SECONDS - started)) s); all of it is in $log"
      exit 1
    fi
    tail -8 "$log"
    echo "=== $user: $command: $((SECONDS - started)) s"
  done
  unmount
done
echo "The two commands work in a bare Debian 12, as: $who"
