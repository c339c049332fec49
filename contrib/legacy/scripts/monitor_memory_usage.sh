#!/bin/sh
exec swarmctl stats memory --watch "$@"
