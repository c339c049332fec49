#!/bin/sh
exec swarmctl index rebuild "$@"
