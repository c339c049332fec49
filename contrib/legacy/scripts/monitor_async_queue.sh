#!/bin/sh
exec swarmctl stats async --watch "$@"
