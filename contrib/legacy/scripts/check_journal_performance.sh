#!/bin/sh
exec swarmctl journal check "$@"
