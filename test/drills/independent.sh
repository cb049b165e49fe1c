#!/bin/bash
# Faults by nothing but cluster.json, jq, kill and nft, while fio writes and verifies: a second opinion beside "gatepath drill".
#
#   independent.sh DATA VDISK [REST_SECONDS [NODE...]]
#
# Each node in turn, or those named by their number from 0, is killed and started again by its command, stands still, and (where it has a network namespace) is cut off. fio writes the whole of a region by
# chance, reads it again and compares checksums, over and over, until the faults are through. Exit status 0: every pass of fio was without an error.
set -u
data=$1 vdisk=$2 rest=${3:-8}
file=$data/cluster.json
shift $(($# < 3 ? $# : 3))
nodes=${*:-$(jq -r '.nodes | keys[]' "$file")}
uri="nbd+unix:///$vdisk?socket=$(jq -r .datapath.nbdSocket "$file")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

verify() {
  local pass=0
  while [ ! -e "$work/done" ]; do
    pass=$((pass + 1))
    (cd "$work" && fio --name="pass-$pass" --ioengine=nbd --uri="$uri" --rw=randwrite --bs=4k --size=8M --iodepth=8 \
      --verify=crc32c --verify_fatal=1 --randseed="$pass" --minimal) >"$work/fio.log" 2>&1 || { touch "$work/failed"; cat "$work/fio.log"; return; }
  done
  echo "fio: $pass passes without an error"
}

field() { jq -r ".nodes[$1].$2" "$file"; }
again() { # as cluster.json says, with nothing of ours
  eval "setsid $(jq -r ".nodes[$1].command | @sh" "$file") >>'$work/node.log' 2>&1 </dev/null &"
}
# Its pid, when it runs; a node that does not has ended by itself.
running() {
  local tries pid
  for tries in $(seq 120); do
    pid=$(field "$1" pid)
    kill -0 "$pid" 2>/dev/null && echo "$pid" && return
    sleep 0.5
  done
  echo "$(field "$1" id) does not run" >&2
  exit 1
}
nft_in() { # what stands before a command that is to run in the node's network
  local enter
  enter=$(jq -r ".nodes[$1].network.enter | @sh" "$file")
  eval "$enter nft -f -"
}

verify &
fio_shell=$!
for i in $nodes; do
  id=$(field "$i" id)
  sleep "$rest"
  pid=$(running "$i") || exit 1
  echo "$id: SIGKILL to $pid"
  kill -KILL "$pid"
  sleep 2
  again "$i"
  while [ "$(field "$i" pid)" = "$pid" ]; do sleep 0.2; done
  sleep "$rest"
  pid=$(running "$i") || exit 1
  echo "$id: SIGSTOP to $pid, SIGCONT after 4 s"
  kill -STOP "$pid"
  sleep 4
  kill -CONT "$pid"
  if [ "$(field "$i" network)" != null ]; then
    sleep "$rest"
    echo "$id: cut off for 4 s"
    echo 'table inet independent {
      chain in { type filter hook input priority -300; iifname != "lo" drop; }
      chain out { type filter hook output priority -300; oifname != "lo" drop; }
    }' | nft_in "$i"
    sleep 4
    echo 'delete table inet independent' | nft_in "$i"
  fi
done
sleep "$rest"
touch "$work/done"
wait "$fio_shell"
[ ! -e "$work/failed" ]
