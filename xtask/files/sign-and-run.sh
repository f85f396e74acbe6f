#!/bin/sh
# PROGRAM ARGUMENT...: how cargo runs programs on Macs, tests too (`.cargo/config.toml`): signed, so that
# they may make VMs.
set -eu
entitlements=$(dirname "$0")/armlet.entitlements
# A program that was not built anew is signed already; others may be running it.
if ! codesign --display --entitlements - "$1" 2>/dev/null | grep -q com.apple.security.hypervisor; then
    codesign --sign - --force --entitlements "$entitlements" "$1"
fi
exec "$@"
