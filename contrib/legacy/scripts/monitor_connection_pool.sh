#!/bin/sh
exec swarmctl stats net --watch "$@"
