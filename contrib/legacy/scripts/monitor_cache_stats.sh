#!/bin/sh
exec swarmctl stats cache --watch "$@"
