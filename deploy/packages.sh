# What the scripts here need, installed from Debian's packages when it is missing. Sourced after `say` and `fail` are defined;
# `install=''` refuses to install. `need_packages demo` is enough for the demo, `broker` for a private RabbitMQ, `test` for every test, with
# the other two; `search` what `deploy/test --long` needs beside. No system service is started, stopped or changed.
# shellcheck shell=bash

missing_for_broker() {
  [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && command -v epmd > /dev/null || echo rabbitmq-server
  # it ends when nobody holds its lock
  command -v flock > /dev/null || echo util-linux
}

missing_for_demo() {
  # bundled SQLite, ring and jemalloc are compiled from C
  command -v cc > /dev/null || echo gcc libc6-dev
  command -v make > /dev/null || echo make
  # a web server under a supervisor
  command -v runsvdir > /dev/null || echo runit
  # reads what --json prints
  [ -x /usr/bin/python3 ] || echo python3
  # asks the management API of a broker that is named
  command -v curl > /dev/null || echo curl
  # releases come from a repository and are served by a web server
  command -v git > /dev/null || echo git
  command -v busybox > /dev/null || echo busybox
  # amqp-publish: an AMQP client that is not ours
  command -v amqp-publish > /dev/null || echo amqp-tools
}

missing_for_test() {
  missing_for_broker
  missing_for_demo
  compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null || echo postgresql
  command -v unshare > /dev/null || echo util-linux
  # services are tried under the real thing
  [ -x /usr/bin/supervisord ] || echo supervisor
  [ -x /lib/systemd/systemd ] && command -v dbus-daemon > /dev/null || echo systemd dbus
  command -v tclsh > /dev/null || echo tcl
  command -v ps > /dev/null || echo procps
  # git goes over a real ssh
  command -v ssh > /dev/null && command -v ssh-keygen > /dev/null || echo openssh-client
  [ -x /usr/sbin/sshd ] || echo openssh-server
  # the clients in other languages, with Debian's interpreters; a host that cannot have them says what was not tested
  /usr/bin/python3 -c 'import pika, jsonschema' 2> /dev/null || can_be_had python3-pika python3-jsonschema
  /usr/bin/ruby -e 'require "bunny"; require "json-schema"' 2> /dev/null || can_be_had ruby ruby-bunny ruby-json-schema
}

missing_for_search() {
  # libFuzzer is compiled from C++
  command -v c++ > /dev/null || echo g++
  # promtool tries the rules of deploy/prometheus
  command -v promtool > /dev/null || can_be_had prometheus
}

# All of them, or none where one is not to be had. Before the first `apt-get update` nobody can tell: then they are asked for.
can_be_had() {
  local package known
  known=$(apt-cache madison coreutils 2> /dev/null || true)
  for package in ${known:+"$@"}; do
    [ -n "$(apt-cache madison "$package" 2> /dev/null)" ] || return 0
  done
  echo "$@"
}

install_packages() {
  [ -n "$install" ] || fail "missing: $*; install with: apt-get install $*"
  command -v apt-get > /dev/null || fail "missing: $*; this is no Debian, install them by its means and run again"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || fail "missing: $*; run as root or install sudo, or: su -c 'apt-get install $*'"
    as_root=(sudo)
  fi
  say "installing $*"
  # a package installed for tests must not start its service, neither now nor at the next boot
  local policy=/usr/sbin/policy-rc.d mine=''
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy > /dev/null
    "${as_root[@]}" chmod 755 $policy
    mine=yes
  fi
  local code=0
  # interrupted or not, what was put there goes again: left behind, it would keep every later package from starting its service
  # shellcheck disable=SC2064
  [ -z "$mine" ] || trap "${as_root[*]} rm -f $policy" EXIT
  {
    "${as_root[@]}" apt-get update &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
  } < /dev/null || code=$?
  [ -z "$mine" ] || { "${as_root[@]}" rm -f $policy && trap - EXIT; }
  [ "$code" -eq 0 ] || fail "apt-get could not install $*: see above"
  case " $* " in
    *' rabbitmq-server '*)
      if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now rabbitmq-server.service epmd.service epmd.socket > /dev/null 2>&1 || true
      fi
      ;;
  esac
  case " $* " in
    *' postgresql '*)
      if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now postgresql.service > /dev/null 2>&1 || true
      fi
      ;;
  esac
  case " $* " in
    *' supervisor '*)
      if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now supervisor.service > /dev/null 2>&1 || true
      fi
      ;;
  esac
  case " $* " in
    *' prometheus '*)
      if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now prometheus.service > /dev/null 2>&1 || true
      fi
      ;;
  esac
  case " $* " in
    *' openssh-server '*)
      if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now ssh.service ssh.socket > /dev/null 2>&1 || true
      fi
      ;;
  esac
}

# rustup puts cargo where only login shells look
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:/usr/local/sbin:/usr/sbin:/sbin"
command -v cargo > /dev/null || fail 'no cargo: install a Rust toolchain from https://rustup.rs and run again'
need_packages() { # for what: broker, demo, test, search
  local missing what
  missing=$(for what in "$@"; do "missing_for_$what"; done | tr ' ' '\n' | sort -u | xargs)
  # shellcheck disable=SC2086 # a list of words
  [ -z "$missing" ] || install_packages $missing
}
